/* The BIOS host of mboot.c: a COM32R program of the SYSLINUX 3 kind (a flat
 * image at 0x101000, see SYSLINUX's comboot.txt), which iPXE's COMBOOT runs. */
#include "mboot.h"
#include "serial.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

union reg {
	u32 l;
	u16 w;
	u8 b;
};

/* The registers of a real-mode call, as the intcall helper takes them. */
struct regs {
	u16 gs, fs, es, ds;
	union reg edi, esi, ebp, esp, ebx, edx, ecx, eax;
	u32 eflags;
};

typedef void (*intcall_fn)(u8 n, const struct regs *in, struct regs *out);

/* What stands on the stack at entry, above the return address. */
struct entry {
	u32 count;
	char *args;
	intcall_fn intcall;
	char *bounce;
	u32 bounce_size;
};

static const struct entry *env;

enum { CARRY = 1, OPEN = 6, READ = 7, CLOSE = 8, CHUNK = 16384, NAME = 1024 };
#define UNKNOWN 0xffffffffu

static void call(struct regs *r, u16 function)
{
	r->eax.l = function;
	env->intcall(0x22, r, r);
}

static u16 segment(const char *p) { return (u32)p >> 4; }
static u16 offset(const char *p) { return (u32)p & 15; }

static void zero(struct regs *r)
{
	for (u32 i = 0; i < sizeof *r; i++)
		((u8 *)r)[i] = 0;
}

/* fetch reads a file through INT 22h: the name stands at the start of the
 * bounce buffer, the data behind it. */
static int fetch(const char *url, struct sink *s)
{
	struct regs r;
	char *data = env->bounce + NAME;
	u32 n = 0, block, size;
	u16 handle;

	for (; url[n] && n < NAME - 1; n++)
		env->bounce[n] = url[n];
	env->bounce[n] = 0;
	zero(&r);
	r.es = segment(env->bounce);
	r.esi.w = offset(env->bounce);
	call(&r, OPEN);
	handle = r.esi.w;
	block = r.ecx.w;
	size = r.eax.l;
	if (r.eflags & CARRY || !block) /* iPXE does not hand the carry flag on */
		return -1;
	do {
		zero(&r);
		r.esi.w = handle;
		r.es = segment(data);
		r.ebx.w = offset(data);
		r.ecx.w = CHUNK / block;
		call(&r, READ);
		if (r.eflags & CARRY)
			return -1;
		sink_take(s, data, r.ecx.l);
	} while (r.esi.w && r.ecx.l);
	if (r.esi.w) { /* SYSLINUX closes at the end of the file, iPXE does not */
		zero(&r);
		r.esi.w = handle;
		call(&r, CLOSE);
	}
	return size != UNKNOWN && size != s->size ? -1 : 0;
}

void com32_main(const struct entry *e)
{
	struct machine m = {
		.via = "com32", .args = e->args, .dir = "", .bootif = "", .fetch = fetch,
	};
	env = e;
	if (mboot_run(&m) == 0)
		machine_reset();
}

/* start stands first in the image. Its first instruction is COM32R's mark,
 * B8 FE 4C CD 21; the variables behind the image are cleared by hand. */
__asm__(".section .start, \"ax\"\n"
	".globl start\n"
	"start:\n"
	"	.byte 0xb8, 0xfe, 0x4c, 0xcd, 0x21\n"
	"	cld\n"
	"	movl $__bss_start, %edi\n"
	"	movl $__bss_end, %ecx\n"
	"	subl %edi, %ecx\n"
	"	xorl %eax, %eax\n"
	"	rep stosb\n"
	"	leal 4(%esp), %eax\n"
	"	pushl %eax\n"
	"	call com32_main\n"
	"	popl %eax\n"
	"	ret\n"
	".previous\n");

void *memset(void *p, int c, unsigned long n)
{
	for (u8 *b = p; n; n--)
		*b++ = c;
	return p;
}

void *memcpy(void *d, const void *s, unsigned long n)
{
	u8 *w = d;
	for (const u8 *r = s; n; n--)
		*w++ = *r++;
	return d;
}
