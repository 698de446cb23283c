/* SPDX-License-Identifier: Apache-2.0 */
/* What libspdm's calls of OpenSSL include by this name, on a system that has a C library. */
#ifndef TIDELOCK_CRT_SUPPORT_H
#define TIDELOCK_CRT_SUPPORT_H

#include <base.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "library/debuglib.h"
#include "library/memlib.h"

#define LIBSPDM_VA_LIST va_list
#define LIBSPDM_VA_START va_start
#define LIBSPDM_VA_ARG va_arg
#define LIBSPDM_VA_END va_end

#endif
