/* Runs the sequences of vector.h through model.c, and compares every spike
 * count and output with those of slstm.integer.run. Written by
 * experiments.export; only this file needs stdio. */
#include <stdio.h>

#include "model.h"
#include "vector.h"

int main(void) {
  static model_state state;
  for (int k = 0; k < NUM_SEQUENCES; ++k) {
    int32_t found[NUM_OUTPUTS];
    model_reset(&state);
    for (int n = 0; n < NUM_ELEMENTS; ++n) {
      model_step(&state, features[k][n]);
      for (int layer = 0; layer < NUM_LAYERS; ++layer) {
        int spikes = model_spikes(&state, layer);
        if (spikes != counts[k][n][layer]) {
          printf("sequence %d, element %d, layer %d: %d spikes, expected %d\n",
                 k, n, layer, spikes, counts[k][n][layer]);
          return 1;
        }
      }
    }
    model_classify(&state, found);
    for (int j = 0; j < NUM_OUTPUTS; ++j) {
      if (found[j] != outputs[k][j]) {
        printf("sequence %d, output %d: %ld, expected %ld\n", k, j,
               (long)found[j], (long)outputs[k][j]);
        return 1;
      }
    }
  }
  printf("%d sequences of %d elements: all as expected.\n", NUM_SEQUENCES,
         NUM_ELEMENTS);
  return 0;
}
