/* Resets, in the child of a fork, the state that belongs to its parent. */
#ifndef UNIGPU_INTERPOSE_FORK_H
#define UNIGPU_INTERPOSE_FORK_H

/* Makes sure that the modules in fork.c are reset in every child that this process forks from here on. */
void fork_watch(void);

#endif
