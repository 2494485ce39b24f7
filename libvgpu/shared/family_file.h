/* The nameless usage file of a program and of what it starts, outside Kubernetes, where no file is named.
 *
 * The first process that is started with a limit makes it, before the program begins, and so before any fork. Forks inherit
 * its descriptor, and so do programs that they start: it is the only one of libvgpu's that stays open in them. A variable in
 * the environment says where it is. Where a program was started without its parent's descriptors, it opens the file by
 * way of /proc, from the nearest ancestor that has it. */
#ifndef UNIGPU_SHARED_FAMILY_FILE_H
#define UNIGPU_SHARED_FAMILY_FILE_H

/* The lowest descriptor to use: programs expect low ones for their own files. */
#define FAMILY_FILE_LOWEST 200

/* Returns a descriptor of the family's file; -1 where that can't be had. Where it can't be found, and `create` is set, makes
 * one for this process and what it forks from here on. */
int family_file_open(_Bool create);

#endif
