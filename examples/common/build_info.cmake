# Writes hillock_build.h: cmake -DSOURCE=... -DHEADER=... -DFLAGS=... -P build_info.cmake
# SPDX-License-Identifier: MIT
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
                WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE hash RESULT_VARIABLE status
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT status EQUAL 0 OR NOT hash)
    set(hash unknown)
endif()
string(REPLACE "\\" "\\\\" FLAGS "${FLAGS}")
string(REPLACE "\"" "\\\"" FLAGS "${FLAGS}")
set(text "/* Written by examples/common/build_info.cmake at each build. */
#ifndef HILLOCK_BUILD_H
#define HILLOCK_BUILD_H
#define HILLOCK_GIT_HASH \"${hash}\"
#define HILLOCK_BUILD_FLAGS \"${FLAGS}\"
#define HILLOCK_DATA_DIR \"${SOURCE}/data\"
#endif
")
set(old "")
if(EXISTS ${HEADER})
    file(READ ${HEADER} old)
endif()
if(NOT old STREQUAL text)
    file(WRITE ${HEADER} "${text}")
endif()
