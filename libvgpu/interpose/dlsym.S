/* The dlsym that programs call. It is written by hand because libc's dlsym reads its return address to find out which
 * object called it (for RTLD_NEXT, and for RTLD_DEFAULT in a library with a scope of its own). Where libc has to
 * answer, this code jumps to libc's function, so that the return address stays the caller's. */
	.text
	.globl	dlsym
	.type	dlsym, %function
#if defined(__x86_64__)
dlsym:
	.cfi_startproc
	endbr64
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	resolve_dlsym
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	testq	%rax, %rax
	jnz	1f
	movq	dl_found_dlsym(%rip), %rax
	testq	%rax, %rax
	jz	1f
	jmp	*%rax
1:	ret
	.cfi_endproc
#elif defined(__aarch64__)
dlsym:
	.cfi_startproc
	stp	x29, x30, [sp, -32]!
	.cfi_def_cfa_offset 32
	.cfi_offset 29, -32
	.cfi_offset 30, -24
	stp	x0, x1, [sp, 16]
	bl	resolve_dlsym
	mov	x2, x0
	ldp	x0, x1, [sp, 16]
	ldp	x29, x30, [sp], 32
	.cfi_restore 30
	.cfi_restore 29
	.cfi_def_cfa_offset 0
	cbnz	x2, 1f
	adrp	x3, dl_found_dlsym
	ldr	x3, [x3, :lo12:dl_found_dlsym]
	cbz	x3, 1f
	br	x3
1:	mov	x0, x2
	ret
	.cfi_endproc
#endif
	.size	dlsym, .-dlsym
	.section .note.GNU-stack, "", %progbits
