/* The dlsym and dlmopen that programs call. They are written by hand because libc's functions read their return address to
 * find out which object called them (for RTLD_NEXT, for RTLD_DEFAULT in a library with a scope of its own, and for the paths
 * of a search). Where libc has to answer, this code jumps to libc's function, so that the return address stays the caller's.
 *
 * Both are exported under libc's versions: another interposed library that has a dlsym of its own finds the next one with
 * dlvsym, which skips what has no version. */
	.text
#if defined(__x86_64__)
.macro DOOR name, resolve, libc
	.globl	\name
	.type	\name, %function
\name:
	.cfi_startproc
	endbr64
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	pushq	%rdx
	.cfi_adjust_cfa_offset 8
	call	\resolve
	popq	%rdx
	.cfi_adjust_cfa_offset -8
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	testq	%rax, %rax
	jnz	1f
	movq	\libc(%rip), %rax
	testq	%rax, %rax
	jz	1f
	jmp	*%rax
1:	ret
	.cfi_endproc
	.size	\name, .-\name
.endm
#elif defined(__aarch64__)
.macro DOOR name, resolve, libc
	.globl	\name
	.type	\name, %function
\name:
	.cfi_startproc
	stp	x29, x30, [sp, #-48]!
	.cfi_adjust_cfa_offset 48
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	mov	x29, sp
	stp	x0, x1, [sp, #16]
	str	x2, [sp, #32]
	bl	\resolve
	mov	x9, x0
	ldp	x0, x1, [sp, #16]
	ldr	x2, [sp, #32]
	ldp	x29, x30, [sp], #48
	.cfi_adjust_cfa_offset -48
	.cfi_restore x29
	.cfi_restore x30
	cbnz	x9, 1f
	adrp	x9, \libc
	ldr	x9, [x9, #:lo12:\libc]
	cbz	x9, 1f
	br	x9
1:	mov	x0, x9
	ret
	.cfi_endproc
	.size	\name, .-\name
.endm
#endif

	DOOR	own_dlsym, resolve_dlsym, dl_found_dlsym
	DOOR	own_dlmopen, resolve_dlmopen, dl_found_dlmopen
	.hidden	own_dlsym
	.hidden	own_dlmopen

/* A second name of the same code: a symbol has one version. */
.macro VERSION name, code, versioned
	.globl	\name
	.type	\name, %function
	.set	\name, \code
	.symver	\name, \versioned, remove
.endm

#if defined(__x86_64__)
	VERSION	dlsym_first, own_dlsym, dlsym@GLIBC_2.2.5
	VERSION	dlmopen_first, own_dlmopen, dlmopen@GLIBC_2.3.4
#else
	VERSION	dlsym_first, own_dlsym, dlsym@GLIBC_2.17
	VERSION	dlmopen_first, own_dlmopen, dlmopen@GLIBC_2.17
#endif
	VERSION	dlsym_later, own_dlsym, dlsym@@GLIBC_2.34
	VERSION	dlmopen_later, own_dlmopen, dlmopen@@GLIBC_2.34

	.section	.note.GNU-stack, "", %progbits
