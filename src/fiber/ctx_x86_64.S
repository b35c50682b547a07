/* SPDX-License-Identifier: MIT */
/* System V AMD64 ABI, section 3.2.1: what a call must preserve is rbx, rbp,
 * r12 to r15, the x87 control word and the control bits of MXCSR.
 */
	.text
	.globl	cleat__ctx_swap
	.hidden	cleat__ctx_swap
	.type	cleat__ctx_swap, @function
	.p2align 4
cleat__ctx_swap: /* rdi: void **save, rsi: void *load */
	.cfi_startproc
	endbr64
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.cfi_endproc
	.size	cleat__ctx_swap, . - cleat__ctx_swap

	/* Where a new context starts: rbx is its entry, r12 the argument. */
	.globl	cleat__ctx_start
	.hidden	cleat__ctx_start
	.type	cleat__ctx_start, @function
	.p2align 4
cleat__ctx_start:
	.cfi_startproc
	.cfi_undefined rip /* unwinding ends here */
	endbr64
	movq	%r12, %rdi
	xorl	%ebp, %ebp
	call	*%rbx
	ud2
	.cfi_endproc
	.size	cleat__ctx_start, . - cleat__ctx_start

	.section .note.GNU-stack, "", @progbits
