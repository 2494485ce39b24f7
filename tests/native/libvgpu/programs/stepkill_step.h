/* Steps a process through an operation, instruction by instruction, or close to one and then by steps. */
#ifndef STEPKILL_STEP_H
#define STEPKILL_STEP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MOST_INSTRUCTIONS 200000

/* A process that is stepped, or killed. */
struct victim {
    pid_t pid, company;
    unsigned watched[8], watching; /* slots whose content can change */
    long steps; /* from the beginning, as the first victim made them */
    bool ended;
};

/* The way of the first victim, which all others follow. */
extern uint64_t at[MOST_INSTRUCTIONS]; /* the instruction that follows so many */
extern long earlier[MOST_INSTRUCTIONS]; /* how often it was met before */
extern long instructions;

extern long kills;
extern bool in_company;

/* Ends the program with a line, and the victim with it, if `holds` is false. */
void need(bool holds, const struct victim *victim, const char *what, uint64_t number);

/* Returns the instruction at which the victim stands. */
uint64_t next_of(const struct victim *victim);

void step(struct victim *victim);

/* Lets the victim go until it stops by itself. */
void finish_alone(struct victim *victim);

/* To where the first victim was after so many instructions; a breakpoint costs as much as some steps. */
void go(struct victim *victim, long steps);

/* Counts how often each instruction of the way was met before. */
void count_earlier(void);

#endif
