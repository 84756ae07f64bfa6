/* The network of model.h in integers, one element at a time.
 *
 * C99 with neither malloc, floating point nor a library. It computes what
 * slstm.integer.run computes, bit by bit; the docstring of that module has the
 * formats of all numbers. Written by slstm.export_c beside weights.h.
 */
#include "model.h"

#include <stddef.h>

#define FRACTION 14 /* bits of drives and outputs, so that ONE is 1 */
#define ONE (1 << FRACTION)
#define MEMBRANE 12
#define FEATURE 10

enum { ANALOG, SPIKES, RUNNING };        /* what an operand holds */
enum { STANDARD, HARD, QUANTISED };      /* families of activations */
enum { SITE_I, SITE_F, SITE_G, SITE_O, SITE_C, SITE_H, SITES };

typedef struct { /* a neuron for each unit; leak may be NULL */
  const int16_t *v_th, *v_0, *level;
  const uint16_t *leak;
  const int16_t *amplitude;
} lif;

typedef struct {
  const int16_t *theta, *level;
} sigma_delta;

typedef struct { /* 129 points of the right half of an odd function */
  const int16_t *values;
  int spacing;
} table;

typedef struct {
  int inputs, units, c_bits;
  const int8_t *w, *u; /* [inputs][4 units], [units][4 units]; as `multiply`
                          takes them if what they multiply is ANALOG */
  const int32_t *b;
  int w_shift[4], u_shift[4];
  const lif *site[SITES];   /* NULL where a site is analog */
  const sigma_delta *delta; /* at h, or NULL */
  int sends;                /* ANALOG, SPIKES or RUNNING */
  int steps;                /* updates of an element: T, or 1 if all are alike */
  int c, x, w_sums, u_sums, sent; /* where its state lies */
} layer;

typedef struct {
  int kind, slots, steps; /* rows of values: slots if there are several */
  const int8_t *values;
} operand;

/* What has to be copied to where constants decide most of it. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#include "weights.h"

INLINE int32_t clip(int32_t q, int32_t low, int32_t high) {
  return q < low ? low : q > high ? high : q;
}

INLINE int32_t saturate16(int32_t q) { return clip(q, -32768, 32767); }

/* q 2^-bits, to nearest with ties upwards. */
INLINE int32_t shift(int32_t q, int bits) {
  if (bits <= 0) return q * ((int32_t)1 << -bits);
  return (q + ((int32_t)1 << (bits - 1))) >> bits;
}

/* q / count, to nearest with ties upwards. */
static int32_t divide(int32_t q, int32_t count) {
  int32_t whole = q / count, rest = q % count;
  if (rest < 0) {
    rest += count;
    --whole;
  }
  return whole + (rest >= count - rest);
}

INLINE int is_signed(int site) {
  return site == SITE_G || site == SITE_C || site == SITE_H;
}

INLINE int32_t interpolate(const table *half, int32_t d) {
  int bits = FRACTION - half->spacing;
  int32_t at = d < 0 ? -d : d, last = (int32_t)128 << bits;
  int32_t index, rest, value;
  if (at > last) at = last;
  index = at >> bits;
  if (index > 127) index = 127;
  rest = at - index * ((int32_t)1 << bits);
  value = half->values[index] +
          shift((half->values[index + 1] - half->values[index]) * rest, bits);
  return d < 0 ? -value : value;
}

INLINE int32_t squash(int site, int32_t d) {
  if (site == SITE_H) return d;
  if (FAMILY == STANDARD) {
    int32_t middle = is_signed(site) ? 0 : ONE >> 1;
    return middle + interpolate(&tables[is_signed(site)], d - middle);
  }
  d = clip(d, is_signed(site) ? -ONE : 0, ONE);
  if (FAMILY == HARD) return d;
  return level_outputs[LEVELS + shift(LEVELS * d, FRACTION)];
}

INLINE int fire(int32_t v, int32_t level, int with_sign) {
  return v >= level ? 1 : with_sign && v <= -level ? -1 : 0;
}

/* One step of an LIF neuron under a drive of MEMBRANE bits. */
INLINE int lif_step(const lif *n, int j, int16_t *v, int32_t d, int with_sign) {
  int32_t u = n->leak ? shift((int32_t)n->leak[j] * *v, 15) : *v;
  int s;
  u = saturate16(u + saturate16(d));
  s = fire(u, n->level[j], with_sign);
  *v = (int16_t)(u - (s > 0 ? n->v_th[j] : 0) + (s < 0 ? n->v_th[j] : 0));
  return s;
}

/* One step of a sigma-delta neuron whose output is x. */
INLINE int delta_step(const sigma_delta *n, int j, int16_t *x, int32_t d) {
  int s = fire(d - *x, n->level[j], 1);
  *x = (int16_t)(*x + (s > 0 ? n->theta[j] : 0) - (s < 0 ? n->theta[j] : 0));
  return s;
}

/* --- Products ------------------------------------------------------------ */

#if defined(__ARM_FEATURE_DSP)
/* Four 8-bit numbers in a word, of which SXTAB16 adds those of bytes 0 and 2,
 * or 1 and 3 if it is rotated, to two 16-bit sums. */
static uint32_t word(const void *at) {
  uint32_t q;
  __builtin_memcpy(&q, at, sizeof q);
  return q;
}

static uint32_t add_even(uint32_t sums, uint32_t q) {
  __asm__("sxtab16 %0, %0, %1" : "+r"(sums) : "r"(q));
  return sums;
}

static uint32_t add_odd(uint32_t sums, uint32_t q) {
  __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(sums) : "r"(q));
  return sums;
}

static uint32_t negate(uint32_t sums) {
  __asm__("ssub16 %0, %1, %0" : "+r"(sums) : "r"(0));
  return sums;
}

static int32_t dot2(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

static uint32_t even(uint32_t q) {
  uint32_t pair;
  __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(q));
  return pair;
}

static uint32_t odd(uint32_t q) {
  uint32_t pair;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(q));
  return pair;
}

static void unpack(int32_t *sums, uint32_t even_sums, uint32_t odd_sums) {
  sums[0] += (int16_t)even_sums;
  sums[1] += (int16_t)odd_sums;
  sums[2] += (int32_t)even_sums >> 16;
  sums[3] += (int32_t)odd_sums >> 16;
}

/* Adds `plus` rows to sums and subtracts `minus` of them. There are few enough
 * rows for 16 bits. Sixteen columns at a time stay in registers. */
static void add_chosen(int32_t *sums, const int8_t *const *plus, int num_plus,
                       const int8_t *const *minus, int num_minus, int width) {
  int m = 0;
  for (; m + 16 <= width; m += 16, sums += 16) {
    uint32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    const int8_t *const *rows = minus, *const *end = minus + num_minus;
    for (int pass = 0;; ++pass) {
      while (rows != end) {
        const int8_t *row = *rows++ + m;
        uint32_t q0 = word(row), q1 = word(row + 4);
        uint32_t q2 = word(row + 8), q3 = word(row + 12);
        a0 = add_even(a0, q0), b0 = add_odd(b0, q0);
        a1 = add_even(a1, q1), b1 = add_odd(b1, q1);
        a2 = add_even(a2, q2), b2 = add_odd(b2, q2);
        a3 = add_even(a3, q3), b3 = add_odd(b3, q3);
      }
      if (pass) break;
      if (num_minus) {
        a0 = negate(a0), a1 = negate(a1), a2 = negate(a2), a3 = negate(a3);
        b0 = negate(b0), b1 = negate(b1), b2 = negate(b2), b3 = negate(b3);
      }
      rows = plus, end = plus + num_plus;
    }
    unpack(sums, a0, b0), unpack(sums + 4, a1, b1);
    unpack(sums + 8, a2, b2), unpack(sums + 12, a3, b3);
  }
  for (; m < width; ++m, ++sums) {
    for (int k = 0; k < num_plus; ++k) *sums += plus[k][m];
    for (int k = 0; k < num_minus; ++k) *sums -= minus[k][m];
  }
}
#else
static void add_chosen(int32_t *sums, const int8_t *const *plus, int num_plus,
                       const int8_t *const *minus, int num_minus, int width) {
  for (int k = 0; k < num_plus; ++k) {
    for (int m = 0; m < width; ++m) sums[m] += plus[k][m];
  }
  for (int k = 0; k < num_minus; ++k) {
    for (int m = 0; m < width; ++m) sums[m] -= minus[k][m];
  }
}
#endif

#define CHOSEN 128 /* rows at a time: of 8 bits, so that 16 hold their sum */

/* Adds rows of weights to sums where spikes are 1, subtracts where -1. */
static void add_rows(int32_t *sums, const int8_t *spikes, int count,
                     const int8_t *rows, int width) {
  const int8_t *plus[CHOSEN], *minus[CHOSEN];
  int num_plus = 0, num_minus = 0;
  for (int k = 0; k < count; ++k, rows += width) {
    if (spikes[k] > 0) {
      plus[num_plus++] = rows;
    } else if (spikes[k] < 0) {
      minus[num_minus++] = rows;
    }
    if (num_plus == CHOSEN || num_minus == CHOSEN) {
      add_chosen(sums, plus, num_plus, minus, num_minus, width);
      num_plus = num_minus = 0;
    }
  }
  if (num_plus || num_minus) {
    add_chosen(sums, plus, num_plus, minus, num_minus, width);
  }
}

/* sums = values x weights. Of four columns at a time, four weights of each
 * follow each other, and count is filled up to a multiple of four by zeros. */
static void multiply(int32_t *sums, const int8_t *values, int count,
                     const int8_t *weights, int width) {
#if defined(__ARM_FEATURE_DSP)
  uint32_t pairs[DENSE_WORDS], *end = pairs; /* even and odd ones in turn */
  for (int k = 0; k < count; k += 4, end += 2) {
    uint32_t q = 0;
    if (k + 4 <= count) {
      q = word(values + k);
    } else {
      for (int j = k; j < count; ++j) {
        q |= (uint32_t)(uint8_t)values[j] << 8 * (j - k);
      }
    }
    end[0] = even(q);
    end[1] = odd(q);
  }
  for (int m = 0; m < width; m += 4) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (const uint32_t *p = pairs; p != end; p += 2, weights += 16) {
      uint32_t x0 = p[0], x1 = p[1], q;
      q = word(weights), s0 = dot2(odd(q), x1, dot2(even(q), x0, s0));
      q = word(weights + 4), s1 = dot2(odd(q), x1, dot2(even(q), x0, s1));
      q = word(weights + 8), s2 = dot2(odd(q), x1, dot2(even(q), x0, s2));
      q = word(weights + 12), s3 = dot2(odd(q), x1, dot2(even(q), x0, s3));
    }
    sums[m] = s0, sums[m + 1] = s1, sums[m + 2] = s2, sums[m + 3] = s3;
  }
#else
  for (int m = 0; m < width; m += 4, weights += 4 * ((count + 3) & ~3)) {
    for (int column = 0; column < 4; ++column) {
      int32_t sum = 0;
      for (int k = 0; k < count; ++k) {
        int place = (k >> 2) * 16 + column * 4 + (k & 3);
        sum += (int32_t)values[k] * weights[place];
      }
      sums[m + column] = sum;
    }
  }
#endif
}

/* The sums of the product with an operand, in one slot. */
static void product(operand in, int slot, int count, const int8_t *weights,
                    int width, int32_t *sums) {
  const int8_t *values = in.values + (in.slots > 1 ? slot * count : 0);
  if (in.kind == ANALOG) {
    multiply(sums, values, count, weights, width);
    return;
  }
  if (in.kind != RUNNING) {
    for (int m = 0; m < width; ++m) sums[m] = 0;
  }
  for (int t = 0; t < in.steps; ++t, values += count) {
    add_rows(sums, values, count, weights, width);
  }
}

/* What a layer has sent in the element before. */
static operand sent_by(const layer *l, const model_state *s) {
  operand out = {l->sends, 1, 1, s->s8 + l->sent};
  if (SLOTS > 1) out.slots = SLOTS;
  if (SLOTS == 1 && l->sends != ANALOG) out.steps = NUM_STEPS;
  return out;
}

/* The output of a site of unit j; the spike goes to *spike if there is one. */
INLINE int32_t run_site(const layer *l, int site, int j, int32_t d, int16_t *v,
                        int *spike) {
  const lif *n = l->site[site];
  if (!n) return squash(site, d);
  *spike = lif_step(n, j, v + site * l->units + j,
                    shift(d, FRACTION - MEMBRANE), is_signed(site));
  return *spike * n->amplitude[j];
}

/* One element of a layer; pooled[j] is what is pooled of its output. */
static void run_layer(const layer *l, operand in, model_state *s,
                      int32_t *pooled) {
  int units = l->units, width = 4 * units, shared = SLOTS == 1;
  int counts = l->sends == SPIKES;
  int32_t *w_sums = s->s32 + l->w_sums, *u_sums = s->s32 + l->u_sums;
  int32_t *c_sums = s->s32 + C_SUMS, *h_sums = s->s32 + H_SUMS;
  int16_t *c = s->s16 + l->c, *x = s->s16 + l->x, *v = s->s16 + V;
  int8_t *sent = s->s8 + l->sent;
  const int *w_shift = l->w_shift, *u_shift = l->u_shift;
  for (int site = 0; site < SITES; ++site) {
    for (int j = 0; l->site[site] && j < units; ++j) {
      v[site * units + j] = l->site[site]->v_0[j];
    }
  }
  for (int j = 0; j < units; ++j) c_sums[j] = h_sums[j] = 0;
  for (int t = 0; t < l->steps; ++t) {
    int slot = shared ? 0 : t;
    if (t == 0 || in.slots > 1) {
      product(in, slot, l->inputs, l->w, width, w_sums);
    }
    if (t == 0 || !shared) {
      product(sent_by(l, s), slot, units, l->u, width, u_sums);
    }
    for (int j = 0; j < units; ++j) {
      int32_t out[4], new_c, phi, h;
      int spikes[SITES] = {0};
#define RUN_GATE(k)                                              \
  out[k] = run_site(l, k, j,                                     \
                    l->b[k * units + j] +                        \
                        shift(w_sums[k * units + j], w_shift[k]) + \
                        shift(u_sums[k * units + j], u_shift[k]), \
                    v, &spikes[k])
      RUN_GATE(SITE_I);
      RUN_GATE(SITE_F);
      RUN_GATE(SITE_G);
      RUN_GATE(SITE_O);
#undef RUN_GATE
      new_c = shift(out[SITE_I] * out[SITE_G], FRACTION - l->c_bits);
      new_c = saturate16(
          shift(out[SITE_F] * c[slot * units + j] + new_c, FRACTION));
      phi = run_site(l, SITE_C, j, shift(new_c, l->c_bits - FRACTION), v,
                     &spikes[SITE_C]);
      h = shift(out[SITE_O] * phi, FRACTION);
      if (shared) {
        c_sums[j] += new_c;
      } else {
        c[slot * units + j] = (int16_t)new_c;
      }
      if (l->delta) {
        for (int k = 0; k < NUM_STEPS; ++k) {
          sent[k * units + j] = (int8_t)delta_step(l->delta, j, x + j, h);
        }
        h = x[j];
      } else if (counts) {
        if (l->site[SITE_H]) {
          run_site(l, SITE_H, j, h, v, &spikes[SITE_H]);
        } else {
          spikes[SITE_H] = spikes[SITE_O] * spikes[SITE_C];
        }
        h = spikes[SITE_H];
        sent[t * units + j] = (int8_t)h;
      } else if (!shared) {
        sent[t * units + j] = (int8_t)clip(shift(h, FRACTION - 7), -128, 127);
      }
      h_sums[j] += h;
    }
  }
  for (int j = 0; j < units; ++j) {
    if (shared) c[j] = (int16_t)divide(c_sums[j], l->steps);
    pooled[j] = h_sums[j];
    if (shared && !l->delta && !counts) {
      pooled[j] = divide(h_sums[j], l->steps);
      sent[j] = (int8_t)clip(shift(pooled[j], FRACTION - 7), -128, 127);
    }
  }
}

static operand encode(const model_feature *x, model_state *s) {
  int8_t *sent = s->s8 + INPUT;
  operand out = {INPUT_KIND, 1, INPUT_STEPS, sent};
  for (int j = 0; j < NUM_FEATURES; ++j) {
    int16_t v = 0;
    if (INPUT_KIND == ANALOG) {
      sent[j] = (int8_t)x[j];
      continue;
    }
    if (INPUT_KIND == SPIKES) v = input_lif->v_0[j];
    for (int t = 0; t < INPUT_STEPS; ++t) {
      sent[t * NUM_FEATURES + j] = (int8_t)(
          INPUT_KIND == SPIKES ? lif_step(input_lif, j, &v, x[j], 1)
                               : delta_step(input_delta, j, s->s16 + j, x[j]));
    }
  }
  if (INPUT_SLOTS > 1) {
    out.slots = INPUT_SLOTS;
    out.steps = 1;
  }
  return out;
}

void model_reset(model_state *s) {
  for (size_t k = 0; k < sizeof s->s32 / sizeof *s->s32; ++k) s->s32[k] = 0;
  for (size_t k = 0; k < sizeof s->s16 / sizeof *s->s16; ++k) s->s16[k] = 0;
  for (size_t k = 0; k < sizeof s->s8 / sizeof *s->s8; ++k) s->s8[k] = 0;
  s->elements = 0;
}

void model_step(model_state *s, const model_feature x[NUM_FEATURES]) {
  int32_t *h = s->s32 + OUTPUT;
  operand in = encode(x, s);
  for (int k = 0; k < NUM_LAYERS; ++k) {
    run_layer(&layers[k], in, s, h);
    in = sent_by(&layers[k], s);
  }
  for (int p = 0; p < NUM_POOLS; ++p) {
    int32_t *pool = s->s32 + POOLED + p * READ_UNITS;
    for (int j = 0; j < READ_UNITS; ++j) {
      if (s->elements == 0 || pools[p] == 'l') {
        pool[j] = h[j];
      } else if (pools[p] == 'm') {
        pool[j] += h[j];
      } else if (h[j] > pool[j]) {
        pool[j] = h[j];
      }
    }
  }
  ++s->elements;
}

int model_classify(const model_state *s, int32_t outputs[NUM_OUTPUTS]) {
  int best = 0;
  for (int k = 0; k < NUM_OUTPUTS; ++k) outputs[k] = readout_b[k];
  for (int p = 0; p < NUM_POOLS; ++p) {
    const int32_t *pool = s->s32 + POOLED + p * READ_UNITS;
    int32_t terms = pools[p] == 'm' ? s->elements : 1;
    for (int j = 0; j < READ_UNITS; ++j) {
      int32_t value = pool[j] * (READ_COUNTS ? 1 << FEATURE : 1);
      int32_t feature = divide(value, terms * (READ_COUNTS ? 1 : SLOTS));
      for (int k = 0; k < NUM_OUTPUTS; ++k) {
        outputs[k] +=
            feature * readout_w[(p * READ_UNITS + j) * NUM_OUTPUTS + k];
      }
    }
  }
  for (int k = 1; k < NUM_OUTPUTS; ++k) {
    if (outputs[k] > outputs[best]) best = k;
  }
  return best;
}
