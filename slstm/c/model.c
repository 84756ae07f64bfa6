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
#define FILLED(count) (((count) + 3) & ~3) /* 8-bit numbers, to whole words */

enum { ANALOG, SPIKES, RUNNING };        /* what an operand holds */
enum { STANDARD, HARD, QUANTISED };      /* families of activations */
enum { LAST, MEAN, MAX };                /* pooling */
enum { SITE_I, SITE_F, SITE_G, SITE_O, SITE_C, SITE_H, SITES };

typedef struct { /* a neuron for each unit; leak may be NULL */
  const int16_t *v_th, *v_0, *level;
  const uint16_t *leak;
  const int16_t *amplitude;
} lif;

typedef struct {
  const int16_t *theta, *level;
} sigma_delta;

typedef struct {
  int inputs, units, c_bits;
  const int8_t *w, *u; /* of each input and unit [units][4]; as `multiply`
                          takes them if what they multiply is ANALOG */
  const int32_t *b;    /* [units][4], and what makes shifts round to nearest */
  int w_up[4], u_up[4], down[4]; /* shifts of sums, of their sum with b */
  const lif *site[SITES];        /* NULL where a site is analog */
  const sigma_delta *delta;      /* at h, or NULL */
  int joined; /* both products run on, in one array that starts with b */
  int last;   /* whether its output is read out */
  int sends;  /* ANALOG, SPIKES or RUNNING */
  int steps;  /* updates of an element: T, or 1 if all are alike */
  int c, x, w_sums, u_sums, sent; /* where its state lies */
} layer;

typedef struct {
  int kind, at; /* where the state holds it */
} pool;

typedef struct {
  int kind, slots, steps; /* rows of values: slots if there are several */
  const int8_t *values;
} operand;

/* What has to be copied to where constants decide most of it. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#else
#define INLINE static inline
#define APART static
#endif

#include "weights.h"

INLINE int32_t clip(int32_t q, int32_t low, int32_t high) {
  return q < low ? low : q > high ? high : q;
}

/* What is nearest in 0 .. 2^bits - 1. */
#if defined(__ARM_FEATURE_DSP)
#define CLIP_TO_BITS(q, bits, out) \
  __asm__("usat %0, %1, %2" : "=r"(out) : "I"(bits), "r"(q))
#else
#define CLIP_TO_BITS(q, bits, out) \
  (out) = clip((q), 0, ((int32_t)1 << (bits)) - 1)
#endif

INLINE int32_t saturate16(int32_t q) { return clip(q, -32768, 32767); }

/* q 2^-bits, downwards. */
INLINE int32_t shift_down(int32_t q, int bits) {
  return bits <= 0 ? q * ((int32_t)1 << -bits) : q >> bits;
}

/* q 2^-bits, to nearest with ties upwards. */
INLINE int32_t shift(int32_t q, int bits) {
  return shift_down(bits <= 0 ? q : q + ((int32_t)1 << (bits - 1)), bits);
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

/* A function of which 256 points are given, 2^bits apart from -128 on: in the
 * upper half of a word its value, in the lower one what it grows by. */
#define INTERPOLATE(points, bits, d, out)                              \
  do {                                                                 \
    int32_t at_, word_;                                                \
    CLIP_TO_BITS((d) + ((int32_t)128 << (bits)), 8 + (bits), at_);     \
    word_ = (int32_t)(points)[at_ >> (bits)];                          \
    at_ &= (1 << (bits)) - 1;                                          \
    (out) = (word_ >> 16) + shift((int16_t)word_ * (int16_t)at_, bits); \
  } while (0)

INLINE int32_t squash(int site, int32_t d) {
  if (site == SITE_H) return d;
  if (FAMILY == STANDARD) {
    int32_t value;
    if (is_signed(site)) {
      INTERPOLATE(signed_points, SIGNED_BITS, d, value);
    } else {
      INTERPOLATE(gate_points, GATE_BITS, d - ONE / 2, value);
    }
    return value;
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

/* --- Products ------------------------------------------------------------
 *
 * Of each unit the four gates i, f, g, o follow each other. Sums of spikes are
 * sum_t, of 16 bits if all of them fit; where SXTAB16 adds them, f and g change
 * places. `PLACE` is where the sum of gate k is. */
#if defined(__GNUC__) && !defined(__ARM_FEATURE_DSP)
typedef int8_t bytes __attribute__((vector_size(16), aligned(1)));
typedef int16_t shorts __attribute__((vector_size(32)));
typedef int32_t ints __attribute__((vector_size(32)));
#define WIDEN(at) __builtin_convertvector(*(const bytes *)(at), shorts)
#endif

#if defined(__ARM_FEATURE_DSP)
#define PLACE(k) (SUM_BITS == 16 && ((k) == 1 || (k) == 2) ? 3 - (k) : (k))

/* Four 8-bit numbers in a word, of which SXTAB16 adds those of bytes 0 and 2,
 * or 1 and 3 if it is rotated, to two 16-bit sums. */
INLINE uint32_t word(const void *at) {
  uint32_t q;
  __builtin_memcpy(&q, at, sizeof q);
  return q;
}

INLINE int any_of_four(const int8_t *spikes) { return word(spikes) != 0; }

INLINE uint32_t add_even(uint32_t sums, uint32_t q) {
  __asm__("sxtab16 %0, %0, %1" : "+r"(sums) : "r"(q));
  return sums;
}

INLINE uint32_t add_odd(uint32_t sums, uint32_t q) {
  __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(sums) : "r"(q));
  return sums;
}

INLINE uint32_t subtract(uint32_t a, uint32_t b) {
  __asm__("ssub16 %0, %0, %1" : "+r"(a) : "r"(b));
  return a;
}

INLINE int32_t dot2(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

INLINE uint32_t even(uint32_t q) {
  uint32_t pair;
  __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(q));
  return pair;
}

INLINE uint32_t odd(uint32_t q) {
  uint32_t pair;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(q));
  return pair;
}

/* Two pairs of 16-bit sums become, or are added to, the sums of a unit. */
INLINE void add_unit(sum_t *sums, uint32_t even_sums, uint32_t odd_sums) {
#if SUM_BITS == 16
  __builtin_memcpy(sums, &even_sums, sizeof even_sums);
  __builtin_memcpy(sums + 2, &odd_sums, sizeof odd_sums);
#else
  sums[0] += (int16_t)even_sums;
  sums[1] += (int16_t)odd_sums;
  sums[2] += (int32_t)even_sums >> 16;
  sums[3] += (int32_t)odd_sums >> 16;
#endif
}

/* Adds `plus` rows to the sums of `units` units, at most four, which stay in
 * registers, and subtracts `minus` of them. */
INLINE void add_block(sum_t *sums, const int8_t *const *rows, int num_plus,
                      int num_minus, int at, int units) {
  uint32_t a[4] = {0}, b[4] = {0};
  const int8_t *const *middle = rows + num_minus, *const *end;
  for (end = middle; rows != end;) {
    const int8_t *row = *rows++ + at;
    for (int k = 0; k < units; ++k) {
      uint32_t q = word(row + 4 * k);
      a[k] = add_even(a[k], q), b[k] = add_odd(b[k], q);
    }
  }
  for (int k = 0; k < units; ++k) {
    uint32_t even_sums = 0, odd_sums = 0;
#if SUM_BITS == 16
    even_sums = word(sums + 4 * k), odd_sums = word(sums + 4 * k + 2);
#endif
    a[k] = subtract(even_sums, a[k]), b[k] = subtract(odd_sums, b[k]);
  }
  for (end = middle + num_plus; rows != end;) {
    const int8_t *row = *rows++ + at;
    for (int k = 0; k < units; ++k) {
      uint32_t q = word(row + 4 * k);
      a[k] = add_even(a[k], q), b[k] = add_odd(b[k], q);
    }
  }
  for (int k = 0; k < units; ++k) add_unit(sums + 4 * k, a[k], b[k]);
}

/* Subtracts num_minus rows from sums, adds num_plus that follow. There are few
 * enough of them for 16 bits. */
APART void add_chosen(sum_t *sums, const int8_t *const *rows, int num_plus,
                      int num_minus, int width) {
  int m = 0;
  for (; m + 16 <= width; m += 16) {
    add_block(sums + m, rows, num_plus, num_minus, m, 4);
  }
  for (; m < width; m += 4) {
    add_block(sums + m, rows, num_plus, num_minus, m, 1);
  }
}
#else
#define PLACE(k) (k)

INLINE int any_of_four(const int8_t *spikes) {
  return (spikes[0] | spikes[1] | spikes[2] | spikes[3]) != 0;
}

APART void add_chosen(sum_t *sums, const int8_t *const *rows, int num_plus,
                      int num_minus, int width) {
  const int8_t *const *middle = rows + num_minus, *const *end;
  int m = 0;
#if defined(__GNUC__)
  for (; m + 128 <= width; m += 128) { /* which stay in vector registers */
    shorts a[8] = {{0}};
    end = middle + num_plus;
    for (const int8_t *const *row = rows; row != middle; ++row) {
      for (int k = 0; k < 8; ++k) a[k] -= WIDEN(*row + m + 16 * k);
    }
    for (const int8_t *const *row = middle; row != end; ++row) {
      for (int k = 0; k < 8; ++k) a[k] += WIDEN(*row + m + 16 * k);
    }
    for (int k = 0; k < 128; ++k) {
      sums[m + k] = (sum_t)(sums[m + k] + a[k / 16][k % 16]);
    }
  }
#endif
  end = middle + num_plus;
  for (; m < width; ++m) {
    int32_t sum = sums[m];
    for (const int8_t *const *row = rows; row != end; ++row) {
      sum += row < middle ? -(*row)[m] : (*row)[m];
    }
    sums[m] = (sum_t)sum;
  }
}
#endif

#define CHOSEN 128 /* rows at a time: of 8 bits, so that 16 hold their sum */

typedef struct { /* rows that wait until they are added to sums together */
  sum_t *sums;
  int width, low, high;
  const int8_t *rows[2 * CHOSEN]; /* from the middle on; downwards those to
                                     subtract */
} choice;

APART void add_rows(choice *c) {
  if (c->high > c->low) {
    add_chosen(c->sums, c->rows + c->low, c->high - CHOSEN, CHOSEN - c->low,
               c->width);
  }
  c->low = c->high = CHOSEN;
}

/* Chooses rows of weights, to add where spikes are 1, to subtract where -1. */
APART void choose_rows(choice *c, const int8_t *spikes, int count,
                       const int8_t *weights) {
  for (int k = 0; k < count; k += 4, weights += 4 * c->width) {
    if (!any_of_four(spikes + k)) continue;
    if (c->high > 2 * CHOSEN - 4 || c->low < 4) add_rows(c);
    for (int j = 0; j < 4; ++j) {
      if (spikes[k + j] > 0) {
        c->rows[c->high++] = weights + j * c->width;
      } else if (spikes[k + j] < 0) {
        c->rows[--c->low] = weights + j * c->width;
      }
    }
  }
}

/* sums = values x weights. Of a unit, for each four values (filled up with
 * zeros) four weights of each gate follow each other. */
APART void multiply(int32_t *sums, const int8_t *values, int count,
                    const int8_t *weights, int units) {
  int fours = (count + 3) / 4;
#if defined(__ARM_FEATURE_DSP)
  uint32_t pairs[DENSE_WORDS], *end = pairs; /* even and odd ones in turn */
  for (int k = 0; k < fours; ++k, end += 2) {
    uint32_t q = word(values + 4 * k);
    end[0] = even(q);
    end[1] = odd(q);
  }
#define DOT4(sum, at)                                    \
  q = word(weights + (at)), sum = dot2(even(q), x0, sum), \
  sum = dot2(odd(q), x1, sum)
#define DOT16(at)                                                        \
  DOT4(s0, at), DOT4(s1, (at) + 4), DOT4(s2, (at) + 8), DOT4(s3, (at) + 12)
  for (int j = 0; j < units; ++j, sums += 4) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    const uint32_t *p = pairs;
    uint32_t x0, x1, q;
    for (int k = fours & 3; k; --k, p += 2, weights += 16) {
      x0 = p[0], x1 = p[1], DOT16(0);
    }
    for (; p != end; p += 8, weights += 64) {
      x0 = p[0], x1 = p[1], DOT16(0);
      x0 = p[2], x1 = p[3], DOT16(16);
      x0 = p[4], x1 = p[5], DOT16(32);
      x0 = p[6], x1 = p[7], DOT16(48);
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
  }
#elif defined(__GNUC__)
  shorts wide[DENSE_WORDS / 2]; /* each value for all four gates */
  for (int k = 0; k < 4 * fours; ++k) {
    for (int gate = 0; gate < 4; ++gate) {
      wide[k / 4][4 * gate + k % 4] = values[k];
    }
  }
  for (int j = 0; j < units; ++j, sums += 4) {
    ints acc = {0}; /* of each gate two parts */
    for (int k = 0; k < fours; ++k, weights += 16) {
      ints pairs = (ints)(WIDEN(weights) * wide[k]);
      acc += (pairs >> 16) + (pairs << 16 >> 16);
    }
    for (int gate = 0; gate < 4; ++gate) {
      sums[gate] = acc[2 * gate] + acc[2 * gate + 1];
    }
  }
#else
  for (int j = 0; j < units; ++j, sums += 4) {
    int32_t part[4] = {0};
    for (int k = 0; k < fours; ++k, weights += 16) {
      for (int m = 0; m < 16; ++m) {
        part[m / 4] += (int32_t)values[4 * k + m % 4] * weights[m];
      }
    }
    for (int gate = 0; gate < 4; ++gate) sums[gate] = part[gate];
  }
#endif
}

typedef struct { /* of all units, in one of both arrays */
  int analog;
  const int32_t *dense;
  const sum_t *spikes;
} product;

INLINE int32_t sum_of(product p, int j, int gate) {
  return p.analog ? p.dense[4 * j + gate] : p.spikes[4 * j + PLACE(gate)];
}

/* The product of a slot of an operand, in an array that fits; rows that spikes
 * select still wait to be added. */
INLINE product product_of(operand in, int slot, int count,
                          const int8_t *weights, int units, int32_t *dense,
                          sum_t *sums, choice *rows) {
  const int8_t *values = in.values + (in.slots > 1 ? slot * FILLED(count) : 0);
  product made = {in.kind == ANALOG, dense, sums};
  if (made.analog) {
    multiply(dense, values, count, weights, units);
    return made;
  }
  if (in.kind != RUNNING) {
    for (int m = 0; m < 4 * units; ++m) sums[m] = 0;
  }
  rows->sums = sums;
  rows->width = 4 * units;
  for (int t = 0; t < in.steps; ++t, values += FILLED(count)) {
    choose_rows(rows, values, count, weights);
  }
  return made;
}

/* What a layer has sent in the element before. */
INLINE operand sent_by(const layer *l, const model_state *s) {
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

/* The drive of a gate of unit j. */
INLINE int32_t drive(const layer *l, int k, int j, product w, product u) {
  int32_t sum = sum_of(u, j, k);
  if (!l->joined) {
    sum = l->b[4 * j + k] + sum_of(w, j, k) * ((int32_t)1 << l->w_up[k]) +
          sum * ((int32_t)1 << l->u_up[k]);
  }
  return shift_down(sum, l->down[k]);
}

/* One element of a layer. */
INLINE void run_layer(const layer *l, operand in, model_state *s) {
  int units = l->units, shared = SLOTS == 1, counts = l->sends == SPIKES;
  int several = shared && l->steps > 1; /* steps of which a mean is taken */
  operand own = sent_by(l, s);
  product w = {0}, u = {0};
  choice rows;
  rows.low = rows.high = CHOSEN;
  int32_t *c_sums = s->s32 + C_SUMS, *output = s->s32 + OUTPUT;
  int16_t *c = s->s16 + l->c, *x = s->s16 + l->x, *v = s->s16 + V;
  int8_t *sent = s->s8 + l->sent;
  for (int site = 0; site < SITES; ++site) {
    if (!l->site[site]) continue;
    for (int j = 0; j < units; ++j) {
      v[site * units + j] = l->site[site]->v_0[j];
    }
  }
  for (int t = 0; t < l->steps; ++t) {
    int slot = shared ? 0 : t;
    if (t == 0 || in.slots > 1) {
      w = product_of(in, slot, l->inputs, l->w, units, s->s32 + W,
                     s->sums + l->w_sums, &rows);
      if (in.kind != ANALOG && !l->joined) add_rows(&rows);
    }
    if (t == 0 || !shared) {
      u = product_of(own, slot, units, l->u, units, s->s32 + U,
                     s->sums + l->u_sums, &rows);
      if (own.kind != ANALOG) add_rows(&rows);
    }
    for (int j = 0; j < units; ++j) {
      int32_t out[4], new_c, phi, h;
      int spikes[SITES] = {0};
#define RUN_GATE(k) \
  out[k] = run_site(l, k, j, drive(l, k, j, w, u), v, &spikes[k])
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
      if (!several) {
        c[slot * units + j] = (int16_t)new_c;
      } else {
        c_sums[j] = (t ? c_sums[j] : 0) + new_c;
      }
      if (l->delta) {
        for (int k = 0; k < NUM_STEPS; ++k) {
          sent[k * FILLED(units) + j] =
              (int8_t)delta_step(l->delta, j, x + j, h);
        }
        h = x[j];
      } else if (counts) {
        if (l->site[SITE_H]) {
          run_site(l, SITE_H, j, h, v, &spikes[SITE_H]);
        } else {
          spikes[SITE_H] = spikes[SITE_O] * spikes[SITE_C];
        }
        h = spikes[SITE_H];
        sent[t * FILLED(units) + j] = (int8_t)h;
      } else if (!several) {
        sent[slot * FILLED(units) + j] =
            (int8_t)clip(shift(h, FRACTION - 7), -128, 127);
      }
      if (l->last || several) output[j] = (t ? output[j] : 0) + h;
    }
  }
  if (!several) return;
  for (int j = 0; j < units; ++j) {
    c[j] = (int16_t)divide(c_sums[j], l->steps);
    if (l->delta || counts) continue;
    output[j] = divide(output[j], l->steps);
    sent[j] = (int8_t)clip(shift(output[j], FRACTION - 7), -128, 127);
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
      sent[t * FILLED(NUM_FEATURES) + j] = (int8_t)(
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
  for (size_t k = 0; k < sizeof s->sums / sizeof *s->sums; ++k) s->sums[k] = 0;
  for (size_t k = 0; k < sizeof s->s16 / sizeof *s->s16; ++k) s->s16[k] = 0;
  for (size_t k = 0; k < sizeof s->s8 / sizeof *s->s8; ++k) s->s8[k] = 0;
  s->elements = 0;
  for (int k = 0; k < NUM_LAYERS; ++k) {
    const layer *l = &layers[k];
    for (int m = 0; l->joined && m < 4 * l->units; ++m) {
      s->sums[l->u_sums + (m & ~3) + PLACE(m & 3)] = (sum_t)l->b[m];
    }
  }
}

void model_step(model_state *s, const model_feature x[NUM_FEATURES]) {
  operand in = encode(x, s);
#define RUN_LAYER(k)             \
  run_layer(&layers[k], in, s);  \
  in = sent_by(&layers[k], s);
  FOR_LAYERS(RUN_LAYER)
#undef RUN_LAYER
  for (int p = 0; p < NUM_POOLS; ++p) {
    const int32_t *h = s->s32 + OUTPUT;
    int32_t *pooled = s->s32 + pools[p].at;
    for (int j = 0; j < READ_UNITS && pools[p].kind != LAST; ++j) {
      if (s->elements == 0) {
        pooled[j] = h[j];
      } else if (pools[p].kind == MEAN) {
        pooled[j] += h[j];
      } else if (h[j] > pooled[j]) {
        pooled[j] = h[j];
      }
    }
  }
  ++s->elements;
}

int model_classify(const model_state *s, int32_t outputs[NUM_OUTPUTS]) {
  int best = 0;
  for (int k = 0; k < NUM_OUTPUTS; ++k) outputs[k] = readout_b[k];
  for (int p = 0; p < NUM_POOLS; ++p) {
    const int32_t *pooled = s->s32 + pools[p].at;
    int32_t terms = pools[p].kind == MEAN ? s->elements : 1;
    for (int j = 0; j < READ_UNITS; ++j) {
      int32_t value = pooled[j] * (READ_COUNTS ? 1 << FEATURE : 1);
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

int model_spikes(const model_state *s, int layer) {
  operand out = sent_by(&layers[layer], s);
  int count = 0, filled = FILLED(layers[layer].units);
  if (out.kind == ANALOG) return 0;
  for (int k = 0; k < out.slots * out.steps * filled; ++k) {
    count += out.values[k] != 0;
  }
  return count;
}
