/* Limits that the environment names and that are above the container's: the node agent is asked for them. */
#ifndef UNIGPU_SHARED_WISH_H
#define UNIGPU_SHARED_WISH_H

/* Asks for them, once in the life of a program, and waits for the answer, 2 s at most. A refusal is logged with its
 * reason. Afterwards the policy has what was granted. */
void wish_settle(void);

#endif
