/* Memory that the driver holds in reserve: pools, and what graphs allocate from. It grows in the driver's own steps and
 * shrinks when the driver likes, so the driver's own count of it is what is counted, and looked at again when short.
 */
#ifndef UNIGPU_RESERVES_H
#define UNIGPU_RESERVES_H

#include "claim.h"

struct reserve;

/* The pool's reserve; NULL where the driver doesn't tell its size, or it is nobody's that we know. */
struct reserve *reserves_of_pool(CUmemoryPool pool);

/* The reserve from which the device's graphs allocate; NULL likewise. */
struct reserve *reserves_of_graphs(CUdevice device);

/* The pool is on that device, or (CU_DEVICE_INVALID) on none; false where there is no room to note it. */
bool reserves_note_pool(CUmemoryPool pool, CUdevice device);

/* Takes what `bytes` more from the reserve can make it grow by; with success the reserves stay locked until the end. */
bool reserve_begin(struct reserve *reserve, struct claim *claim, uint64_t bytes);

/* Counts what the reserve has grown to; false where that is more than is left. */
bool reserve_end(struct reserve *reserve, struct claim *claim);

/* Looks at all reserves of the card again: the driver may have given memory back meanwhile. */
void reserves_look(int card);

/* Something from a pool was freed: the pool may give it back to the card as soon as the card is done with it. */
void reserves_freed(void);

/* The card was waited for: counts what pools gave back, where something was freed; costs nothing else. */
void reserves_settle(void);

/* An allocation of the reserve lives; every one is freed with one of the two below. */
void reserve_allocated(struct reserve *reserve);

/* It was freed, and the driver is done with it; or it will be when the stream comes to it. */
void reserve_freed(struct reserve *reserve);
void reserve_freed_in(struct reserve *reserve, CUstream stream);

/* Destroys the pool; what its living allocations hold is counted until the last of them is freed. */
CUresult reserves_end_pool(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool));

#endif
