/* SPDX-License-Identifier: MIT */
/* AAPCS64, section 6.1: what a call must preserve is x19 to x28, the frame
 * pointer, the link register, the low halves of v8 to v15 and the control bits
 * of FPCR.
 */
	.text
	.globl	cleat__ctx_swap
	.hidden	cleat__ctx_swap
	.type	cleat__ctx_swap, %function
	.p2align 4
cleat__ctx_swap: /* x0: void **save, x1: void *load */
	.cfi_startproc
	hint	#34 /* bti c */
	sub	sp, sp, #176
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mrs	x9, fpcr
	str	x9, [sp, #160]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	ldr	x9, [sp, #160]
	msr	fpcr, x9
	add	sp, sp, #176
	ret
	.cfi_endproc
	.size	cleat__ctx_swap, . - cleat__ctx_swap

	/* Where a new context starts: x19 is its entry, x20 the argument. */
	.globl	cleat__ctx_start
	.hidden	cleat__ctx_start
	.type	cleat__ctx_start, %function
	.p2align 4
cleat__ctx_start:
	.cfi_startproc
	.cfi_undefined x30 /* unwinding ends here */
	hint	#34
	mov	x0, x20
	mov	x29, #0
	blr	x19
	brk	#1
	.cfi_endproc
	.size	cleat__ctx_start, . - cleat__ctx_start

	.section .note.GNU-stack, "", %progbits
