/* A fibre: a stack of its own that is gone to and left by a call. swapcontext does that everywhere,
 * but saves the signal mask, two system calls each time; where this file knows the registers, it
 * does without. */
#ifndef LONGHAUL_CUDA_FIBRE_H
#define LONGHAUL_CUDA_FIBRE_H

#include <cstddef>
#include <cstdint>

#ifdef __x86_64__

/* Where a stack was left: the registers that a call must keep lie on top of it. */
struct Place {
    void *stack;
};

extern "C" void longhaul_fibre_switch(void **left, void *next);
asm(R"(
    .text
    .hidden longhaul_fibre_switch
    .globl longhaul_fibre_switch
    .type longhaul_fibre_switch, @function
longhaul_fibre_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size longhaul_fibre_switch, . - longhaul_fibre_switch
)");

/* Goes on at `next`; returns when somebody goes to `left`. */
static inline void go(Place *left, Place *next) {
    longhaul_fibre_switch(&left->stack, next->stack);
}

/* The first time, `next` begins with entry, which does not return. */
static inline void begin(Place *next, unsigned char *stack, size_t bytes, void (*entry)()) {
    enum { SAVED = 6 };
    const uintptr_t end = reinterpret_cast<uintptr_t>(stack + bytes) & ~(uintptr_t)15;
    void **top =
        reinterpret_cast<void **>(end) - SAVED - 2; /* entry finds 8 bytes above 16, as called */
    for (int i = 0; i < SAVED; i++) top[i] = nullptr;
    top[SAVED] = reinterpret_cast<void *>(entry);
    top[SAVED + 1] = nullptr;
    next->stack = top;
}

#else
#include <ucontext.h>

struct Place {
    ucontext_t context;
};

static inline void go(Place *left, Place *next) {
    swapcontext(&left->context, &next->context);
}

static inline void begin(Place *next, unsigned char *stack, size_t bytes, void (*entry)()) {
    getcontext(&next->context);
    next->context.uc_stack.ss_sp = stack;
    next->context.uc_stack.ss_size = bytes;
    next->context.uc_link = nullptr;
    makecontext(&next->context, entry, 0);
}

#endif
#endif
