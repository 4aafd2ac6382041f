// The settings of glibc's allocator, which Swift's Glibc leaves out.
#pragma once
#include <malloc.h>
