/* Objects of the program that graphs keep alive. */
#ifndef UNIGPU_SIM_USER_OBJECT_H
#define UNIGPU_SIM_USER_OBJECT_H

#include "simulator/cuda/core/driver.h"

/* References that a graph owns: a list of objects, each with a count. */
typedef struct user_ref {
    CUuserObject object;
    unsigned count;
    struct user_ref *next;
} user_ref;

/* Adds references to the list; `moved`: they are the caller's, given away. */
CUresult user_refs_add(user_ref **list, CUuserObject user, unsigned count, bool moved);
CUresult user_refs_remove(user_ref **list, CUuserObject user, unsigned count);
/* Adds references to everything in the list `from`, with the same counts. */
CUresult user_refs_copy(user_ref **to, const user_ref *from);
/* Drops every reference in the list. */
void user_refs_drop(user_ref **list);

#endif
