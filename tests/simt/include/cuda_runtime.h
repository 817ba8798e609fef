// CUDA headers that a kernel may include: all they declare is in simt.h.
#pragma once
#include "simt.h"
