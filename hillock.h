/* hillock.h: all of hillock. The headers that it includes are the manual.
   SPDX-License-Identifier: MIT */
#ifndef HILLOCK_H
#define HILLOCK_H

#include "hk_activations.h"
#include "hk_autograd.h"
#include "hk_base.h"
#include "hk_context.h"
#include "hk_data.h"
#include "hk_doctor.h"
#include "hk_flow.h"
#include "hk_hook.h"
#include "hk_image_ops.h"
#include "hk_jacobian.h"
#include "hk_layers.h"
#include "hk_mean_field.h"
#include "hk_ops.h"
#include "hk_optim.h"
#include "hk_random.h"
#include "hk_stats.h"
#include "hk_tensor.h"
#include "hk_units.h"

#endif
