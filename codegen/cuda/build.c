// Kernels of an entry, or of a model, to code. In: their text, architectures. Out: images, out of the
// cache or by NVRTC.
//
//   unit + "sm_90a" + NVRTC's version --hash--> DIR/5be2..90.cubin?  yes: that
//                                                                    no: compile, store
#include "codegen/cuda/cuda.h"
#include <ctype.h>
#include <stdlib.h>

// ---- architectures -----------------------------------------------------------------------------
sq_status sq_cuda_arch_of(sq_arena *a, sq_nvrtc *nvrtc, const sq_abi_gpu *gpu, const char **arch,
                          const char **message) {
  enum { MOST = 64 };
  int known[MOST], newest = 0;
  uint32_t n = sq_nvrtc_archs(nvrtc, a, known, MOST);
  for (uint32_t k = 0; k < n; k++)
    if (known[k] <= (int)gpu->capability && known[k] > newest) newest = known[k];
  if (newest) {
    bool same = newest == (int)gpu->capability;
    // What 9.0 alone has, products of groups of warps, is in code for 9.0 alone.
    *arch = sq_arena_fmt(a, !same ? "compute_%d" : newest == 90 ? "sm_%da" : "sm_%d", newest);
    return SQ_OK;
  }
  int major, minor;
  sq_nvrtc_version(nvrtc, &major, &minor);
  *message = sq_arena_fmt(a, "NVRTC %d.%d makes no code for a device of capability %u.%u", major,
                          minor, gpu->capability / 10, gpu->capability % 10);
  return SQ_EWORLD;
}

// The number of "sm_90a", with *suffix what stands behind it; 0: not an architecture.
static long arch_number(const char *s, size_t n, char *suffix) {
  char *end;
  *suffix = 0;
  if (n < 5 || strncmp(s, "sm_", 3) || !isdigit((unsigned char)s[3])) return 0;
  long v = strtol(s + 3, &end, 10);
  if ((size_t)(end - s) + 1 == n && (*end == 'a' || *end == 'f')) *suffix = *end;
  return (size_t)(end - s) + (*suffix ? 1 : 0) == n && v < 1000 ? v : 0;
}

sq_status sq_cuda_arch_list(sq_arena *a, const char *list, const char **arch, uint32_t *n,
                            const char **message) {
  long lowest = 0;
  *n = 0;
  for (const char *s = list;; s += strcspn(s, ",") + 1) {
    size_t size = strcspn(s, ",");
    char suffix;
    long v = arch_number(s, size, &suffix);
    const char *name = sq_arena_str(a, s, size);
    if (!v || *n + 1 >= SQ_CUDA_ARCHS) {
      *message =
          v ? sq_arena_fmt(a, "--arch takes at most %d architectures", SQ_CUDA_ARCHS - 1)
            : sq_arena_fmt(a, "--arch takes architectures like sm_80,sm_90a, not `%s`", name);
      return SQ_EUSAGE;
    }
    arch[(*n)++] = name;
    if (!lowest || v < lowest) lowest = v;
    if (!s[size]) break;
  }
  arch[(*n)++] = sq_arena_fmt(a, "compute_%ld", lowest);
  return SQ_OK;
}

// ---- images ------------------------------------------------------------------------------------
static sq_cache_key key_of(sq_arena *a, sq_nvrtc *nvrtc, const char *arch, const sq_text *unit) {
  int major, minor;
  sq_text t = {.arena = a};
  sq_nvrtc_version(nvrtc, &major, &minor);
  sq_text_add(&t, "seqm %s, NVRTC %d.%d, %s, %s\n", SEQM_VERSION, major, minor, arch,
              sq_nvrtc_recipe);
  sq_text_put(&t, unit->v, unit->n);
  return sq_cache_key_of(t.v, t.n);
}

// What launches bring in code for this architecture: as SQ_WGMMA chooses the body.
static const uint32_t *room_of(sq_arena *a, const sq_cuda *c, const char *arch) {
  uint32_t *room = SQ_ARRAY(a, uint32_t, c->kernel.n + 1);
  for (uint32_t i = 0; i < c->kernel.n; i++)
    room[i] = c->kernel.v[i].room[strcmp(arch, "sm_90a") == 0];
  return room;
}

static sq_status make_image(sq_arena *a, sq_nvrtc *nvrtc, const char *arch, const sq_text *unit,
                            const char *dir, sq_abi_image *image, const char **message) {
  const char *suffix = arch[0] == 's' ? ".cubin" : ".ptx", *data;
  size_t size;
  image->arch = sq_arena_str(a, arch, strlen(arch));
  sq_cache_key key = {0, 0};
  if (dir) key = key_of(a, nvrtc, arch, unit);
  if (dir && sq_cache_get(a, dir, key, suffix, &data, &size)) {
    image->data = data;
    image->size = size;
    return SQ_OK;
  }
  sq_nvrtc_result r;
  SQ_TRY(sq_nvrtc_compile(nvrtc, a, unit->v, arch, &r, message));
  image->data = r.code;
  image->size = r.size;
  if (dir) (void)sq_cache_put(dir, key, suffix, r.code, r.size);
  return SQ_OK;
}

sq_status sq_cuda_build(sq_arena *a, const sq_cuda *c, sq_nvrtc *nvrtc, const char *const *arch,
                        uint32_t n, const char *cache_dir, sq_abi_kernels **out,
                        const char **message) {
  sq_abi_kernels *k = SQ_NEW(a, sq_abi_kernels);
  sq_abi_kernel *kernel = SQ_ARRAY(a, sq_abi_kernel, c->kernel.n + 1);
  sq_abi_image *image = SQ_ARRAY(a, sq_abi_image, n + 1);
  for (uint32_t i = 0; i < c->kernel.n; i++) {
    const sq_cuda_kernel_info *info = &c->kernel.v[i];
    kernel[i] = (sq_abi_kernel){sq_arena_str(a, info->name, strlen(info->name)), info->threads,
                                info->n_arg, info->n_map};
  }
  *k = (sq_abi_kernels){.n_kernel = c->kernel.n, .kernel = kernel, .image = image};
  *out = k;
  if (!k->n_kernel) return SQ_OK;
  sq_text unit = {.arena = a};
  sq_cuda_unit(c, false, &unit);
  for (; k->n_image < n; k->n_image++) {
    image[k->n_image].room = room_of(a, c, arch[k->n_image]);
    image[k->n_image].maps = strcmp(arch[k->n_image], "sm_90a") == 0;
    SQ_TRY(make_image(a, nvrtc, arch[k->n_image], &unit, cache_dir, &image[k->n_image], message));
  }
  return SQ_OK;
}
