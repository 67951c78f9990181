// `seqm dump MODEL.so`: what a shared object holds, on any machine. In: its descriptor. Out: entries,
// how many parameters and states, and, for a device, the kernels and the forms in which they are there.
#include "runtime/expr.h"
#include "runtime/internal.h"
#include "runtime/jit.h"
#include "tools/model.h"

bool sq_is_object(const char *path) {
  size_t n = strlen(path);
  return n > 3 && !strcmp(path + n - 3, ".so");
}

static void put_expr(seqm_context *rt, const sq_abi_model *m, const sq_abi_expr *e, sq_text *out) {
  sq_message_clear(rt);
  sq_message_expr(rt, m, e);
  sq_text_add(out, "%s", seqm_message(rt));
}

static void put_tensors(seqm_context *rt, const sq_abi_model *m, const sq_abi_tensor *t, uint32_t n,
                        sq_text *out) {
  for (uint32_t k = 0; k < n; k++) {
    sq_text_add(out, "%s%s: %s[", k ? ", " : "", t[k].name, sq_rt_dtype(t[k].dtype));
    for (uint32_t d = 0; d < t[k].rank; d++) {
      if (d) sq_text_add(out, ", ");
      put_expr(rt, m, &t[k].dim[d], out);
    }
    sq_text_add(out, "]");
  }
}

static void put_entries(seqm_context *rt, const sq_abi_model *m, sq_text *out) {
  sq_text_add(out, "entries\n");
  for (uint32_t k = 0; k < m->n_entry; k++) {
    const sq_abi_entry *e = &m->entry[k];
    sq_text_add(out, "  %s(", e->name);
    put_tensors(rt, m, e->in, e->n_in, out);
    sq_text_add(out, e->n_out ? ") -> " : ")");
    put_tensors(rt, m, e->out, e->n_out, out);
    sq_text_add(out, "\n");
  }
}

static void put_kernels(const sq_abi_kernels *k, sq_text *out) {
  sq_text_add(out, "kernels\n");
  for (uint32_t i = 0; i < k->n_kernel; i++)
    sq_text_add(out, "  %-40s %4u threads, %u arguments\n", k->kernel[i].name, k->kernel[i].threads,
                k->kernel[i].n_arg);
  sq_text_add(out, "images\n");
  for (uint32_t i = 0; i < k->n_image; i++) {
    bool ptx = !strncmp(k->image[i].arch, "compute_", 8);
    sq_text_add(out, "  %-12s %s, %llu bytes\n", k->image[i].arch, ptx ? "PTX" : "cubin",
                (unsigned long long)k->image[i].size);
    for (uint32_t j = 0; j < k->n_kernel; j++)
      if (k->image[i].room[j])
        sq_text_add(out, "    %-40s %u bytes of shared memory a block\n", k->kernel[j].name,
                    k->image[i].room[j]);
  }
}

static void put_model(seqm_context *rt, const sq_abi_model *m, sq_text *out) {
  uint32_t params = 0, states = 0;
  for (uint32_t k = 0; k < m->n_param; k++) params += m->param[k].count;
  for (uint32_t k = 0; k < m->n_state; k++) states += m->state[k].count;
  sq_text_add(out, "model %s, for %s%s\n", m->name, m->cpu && *m->cpu ? m->cpu : "any processor",
              m->device == SQ_ABI_CUDA ? " and cuda" : "");
  put_entries(rt, m, out);
  sq_text_add(out, "%u parameters, %u states\n", params, states);
  if (m->kernels) put_kernels(m->kernels, out);
}

sq_status sq_dump_object(sq_cli *cli) {
  if (cli->stage || cli->after || cli->entry)
    return sq_complain(SQ_EUSAGE,
                       "a shared object has no intermediate forms: %s belongs to a model",
                       cli->stage   ? "--stage"
                       : cli->after ? "--after"
                                    : "--entry");
  seqm_context *rt = seqm_context_new(NULL);
  seqm_model *m;
  if (!rt) return sq_complain(SQ_EWORLD, "out of memory");
  int s = seqm_model_open(rt, cli->model, &m);
  if (s) {
    sq_print_failure((sq_status)s, seqm_message(rt));
  } else {
    sq_text t = {.arena = &cli->ctx->arena};
    put_model(rt, seqm_model_descriptor(m), &t);
    fputs(t.v, stdout);
    seqm_model_free(m);
  }
  seqm_context_free(rt);
  return (sq_status)s;
}
