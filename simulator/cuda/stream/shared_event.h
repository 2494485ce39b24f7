/* What processes share of an event: which record was the last, and which are settled, in a file that each of them maps. */
#ifndef UNIGPU_SIM_SHARED_EVENT_H
#define UNIGPU_SIM_SHARED_EVENT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct shared_event shared_event;

/* Makes one, or maps another process's file; NULL: no memory, or no such file. It takes over the file. */
shared_event *shared_event_new(void);
shared_event *shared_event_open(int file);
shared_event *shared_event_ref(shared_event *held);
void shared_event_unref(shared_event *held);
int shared_event_file(const shared_event *named);

/* Begins a record, and returns its number: from 1 on. */
uint64_t shared_event_begin(shared_event *recorded);
/* The number of the last record; 0: none. */
uint64_t shared_event_last(const shared_event *asked);
/* Settles a record. */
void shared_event_signal(shared_event *reached, uint64_t ticket, uint64_t at_ns);
/* Whether a record, or a later one, is settled, and when its work is complete. */
bool shared_event_reached(shared_event *asked, uint64_t ticket, uint64_t *at_ns);
/* Waits for that. What a process recorded that has died since counts as complete. */
uint64_t shared_event_wait(shared_event *awaited, uint64_t ticket);

#endif
