/* activate_gpu.c: activations whose parameters are tensors on a GPU: one launch, which reads them there.
   SPDX-License-Identifier: MIT */
#include "activation.h"
#include "gpu.h"

bool hk__gpu_takes_stretches(const hk__stretches *s) {
    return s->channels == 1 || s->count / s->channels * s->length <= INT32_MAX;
}

bool hk__gpu_learns(const hk_op_call *c, const hk__stretches *s) {
    for (int i = 0; i < c->n_in; i++)
        for (int k = 0; k < i; k++)
            if (c->gin[i] && c->gin[i] == c->gin[k]) return false;
    return hk__gpu_takes_stretches(s);
}

static hk__learn_job gpu_job(const hk_op_call *c, const hk__stretches *s) {
    const hk__activation_attr *a = c->attr;
    hk__learn_job job = {.outer = s->count / s->channels,
                         .channels = s->channels,
                         .length = s->length,
                         .x = c->in[0]->data};
    for (int k = 0; k < a->spec.info->n_params; k++) {
        job.number[k] = a->spec.value[k];
        if (!a->at[k]) continue;
        job.param[k] = c->in[a->at[k]]->data;
        job.stride[k] = s->stride[k];
    }
    return job;
}

static hk_status run_on_gpu(const hk_op_call *c, const hk__learn_job *job) {
    if (c->ctx->status == HK_OK)
        ((hk__learn_launch *)(void (*)(void))hk__kernels_of(c)->learn)(c->ctx, job);
    return c->ctx->status;
}

hk_status hk__value_gpu(const hk_op_call *c, const hk__stretches *s) {
    hk__learn_job job = gpu_job(c, s);
    job.gx = c->out[0]->data;
    return run_on_gpu(c, &job);
}

hk_status hk__learn_gpu(hk_op_call *c, const hk__stretches *s) {
    const hk__activation_attr *a = c->attr;
    hk__learn_job job = gpu_job(c, s);
    job.g = c->gout[0]->data;
    job.y = c->out[0]->data;
    hk_tensor *gx = hk__grad_target(c, 0, &job.accumulate);
    job.gx = gx ? gx->data : NULL;
    for (int k = 0; k < a->spec.info->n_params; k++) {
        if (!a->at[k] || !hk_op_needs(c, a->at[k])) continue;
        hk_tensor *grad = hk__grad_target(c, a->at[k], &job.accumulate_grad[k]);
        job.grad[k] = grad ? grad->data : NULL;
    }
    return run_on_gpu(c, &job);
}
