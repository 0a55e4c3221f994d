/* A model of the uwsgi protocol's frames, one byte at a time, to compare the parser with. */
#ifndef FASTPTY_FUZZ_FRAME_MODEL_H
#define FASTPTY_FUZZ_FRAME_MODEL_H

#include <stdint.h>

struct frame_model {
    uint8_t header[4];
    unsigned header_size, payload_left;
};

/* The kinds of events, with door_parse's numbers. */
enum { MODEL_SIGNAL = 2, MODEL_ROWS, MODEL_COLUMNS, MODEL_IGNORED };

/* What one more byte means: -1 - byte if it is typed, kind << 16 | value if it completes another frame, otherwise 0. */
static inline long model_byte(struct frame_model *model, uint8_t byte)
{
    if (model->payload_left > 0) {
        model->payload_left--;
        return -1 - byte;
    }
    model->header[model->header_size++] = byte;
    if (model->header_size < 4)
        return 0;
    unsigned size = model->header[1] | (unsigned)model->header[2] << 8, modifier2 = model->header[3];
    model->header_size = 0;
    if (modifier2 == 0) {
        model->payload_left = size;
        return 0;
    }
    if (modifier2 == 100 || modifier2 == 101)
        return (modifier2 == 100 ? (long)MODEL_ROWS : (long)MODEL_COLUMNS) << 16 | size;
    return (modifier2 <= 64 ? (long)MODEL_SIGNAL : (long)MODEL_IGNORED) << 16 | modifier2;
}

#endif
