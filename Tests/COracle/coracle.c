#include "coracle.h"
