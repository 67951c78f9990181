// Types of elements. f16 and bf16 exist in memory only; in registers they are float. bool is a byte
// in memory.
typedef long long sq_i64;
typedef unsigned long long sq_u64;
typedef int sq_i32;
typedef unsigned int sq_u32;
typedef signed char sq_i8;
typedef unsigned char sq_u8;
struct sq_f16 {
  unsigned short bits;
};
struct sq_bf16 {
  unsigned short bits;
};
struct sq_tf32; // in a word as float has it, the lower 13 bits 0
struct alignas(16) sq_vec8 { // 8 elements of 16 bits, 4 of 32
  sq_u32 w[4];
};
struct sq_b8 {
  unsigned char v;
};
