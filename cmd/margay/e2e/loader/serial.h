/* The first serial port, written to directly: what these programs say reaches
 * the test's log whatever console the firmware has. */
#ifndef SERIAL_H
#define SERIAL_H

static inline void outb(unsigned short port, unsigned char v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline unsigned char inb(unsigned short port)
{
	unsigned char v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void serial_char(char c)
{
	while (!(inb(0x3f8 + 5) & 0x20))
		;
	outb(0x3f8, (unsigned char)c);
}

static inline void serial_puts(const char *s)
{
	for (; *s; s++)
		serial_char(*s);
}

/* machine_reset resets a PC through its reset control register. */
static inline void machine_reset(void)
{
	outb(0xcf9, 0x02);
	outb(0xcf9, 0x06);
	for (;;)
		__asm__ volatile("hlt");
}

#endif
