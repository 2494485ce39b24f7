/* The thread that reads samples while the program does other things. It sleeps for good while nothing is under way. */
#ifndef UNIGPU_COMPUTE_POLLER_H
#define UNIGPU_COMPUTE_POLLER_H

/* Something is under way: starts the thread where there is none, and wakes it. */
void poller_wake(void);

#endif
