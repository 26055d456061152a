/* A boot loader that behaves as ESXi's mboot does towards a boot server, and
 * says on the serial port what it was told and what it fetched.
 *
 * mboot.c has the behaviour; efi.c and com32.c lend it a machine. */
#ifndef MBOOT_H
#define MBOOT_H

/* A sink takes a file as it arrives: its size, its FNV-1a hash, and its bytes
 * where it has room for them (one byte is kept for an end mark). A CRC-32 would
 * not do: that of a gzip file, which ends in its content's, is always the same. */
struct sink {
	unsigned long size;
	unsigned int hash;
	char *buf;
	unsigned long room;
};

void sink_open(struct sink *s, char *buf, unsigned long room);
void sink_take(struct sink *s, const void *data, unsigned long n);

/* The machine underneath. */
struct machine {
	const char *via;    /* ipxe, http or com32 */
	const char *args;   /* the command line, name of the program first or not */
	const char *dir;    /* where the program came from, ends in a slash; or "" */
	const char *bootif; /* 01-aa-bb-cc-dd-ee-ff where the firmware tells; or "" */
	int uefi;

	/* fetch gets a file by URL, or by a name that is relative to the program's
	 * own: 0, or -1 after it said why. */
	int (*fetch)(const char *url, struct sink *s);
	/* probe asks for a file's size only; null where nobody asks. */
	int (*probe)(const char *url);
};

/* mboot_run boots: 0 when the "installation" is over, -1 after a fatal error
 * under -e. Without -e a fatal error hangs, as it does with the original. */
int mboot_run(const struct machine *m);

#endif
