// A team does one piece of work together: one thread on the CPU, a block on the card. Functions
// over a Team say what they ask of it; every thread of a team takes the same way through them.
#pragma once

#ifdef __CUDACC__
#define FIRESTEEL_TEAM __device__
#else
#define FIRESTEEL_TEAM
#endif
