/* The thread that reads samples while the program does other things. It sleeps for good while nothing is under way. */
#ifndef UNIGPU_HELPER_H
#define UNIGPU_HELPER_H

/* Something is under way: starts the thread where there is none, and wakes it. */
void helper_wake(void);

#endif
