/* A master boot record: says DISK-BOOTED on the first serial port and halts. */
	.code16
	.globl _start
_start:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	ljmp	$0, $1f
1:	movw	$text, %si
2:	lodsb
	testb	%al, %al
	jz	4f
	movb	%al, %bl
	movw	$0x3fd, %dx
3:	inb	%dx, %al
	testb	$0x20, %al
	jz	3b
	movw	$0x3f8, %dx
	movb	%bl, %al
	outb	%al, %dx
	jmp	2b
4:	hlt
	jmp	4b
text:	.asciz	"\r\nDISK-BOOTED: mbr\r\n"
	.org	510
	.word	0xaa55
