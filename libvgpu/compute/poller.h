/* The thread that reads samples while the program does other things. It sleeps while there are none. */
#ifndef UNIGPU_COMPUTE_POLLER_H
#define UNIGPU_COMPUTE_POLLER_H

/* Wakes the thread, or starts it where there is none. Call when a sample is under way. */
void poller_wake(void);

/* In the child of a fork. */
void poller_after_fork(void);

#endif
