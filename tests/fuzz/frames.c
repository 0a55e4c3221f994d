/* The parser of uwsgi packets against a model, byte by byte: the first byte of the input says how it is cut. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void door_parser_reset(void);
size_t door_parse(const uint8_t *data, size_t size, int *kind, const uint8_t **payload, uint32_t *value);

#define REQUIRE(condition, promise) do { \
    if (!(condition)) { \
        fprintf(stderr, "broken: %s (%s:%d)\n", promise, __FILE__, __LINE__); \
        abort(); \
    } \
} while (0)

struct model {
    uint8_t header[4];
    unsigned header_size, payload_left;
};

/* What one more byte means: -1 - byte for one of stdin, kind << 16 | value for the other events, 0 for nothing. */
static long model_byte(struct model *model, uint8_t byte)
{
    if (model->payload_left > 0) {
        model->payload_left--;
        return model->header[3] == 0 ? -1 - byte : 0;
    }
    model->header[model->header_size++] = byte;
    if (model->header_size < 4)
        return 0;
    unsigned size = model->header[1] | (unsigned)model->header[2] << 8, kind = model->header[3];
    model->header_size = 0;
    if (kind == 100 || kind == 101)
        return (kind == 100 ? 3l : 4l) << 16 | size;
    model->payload_left = size;
    if (kind == 0)
        return 0;
    return (kind <= 64 ? 2l : 5l) << 16 | kind;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model model = {0};
    size_t piece = size > 0 && *data > 0 ? *data : 65536, at = size > 0 ? 1 : 0;
    door_parser_reset();
    while (at < size) {
        /* A copy of its own size, so that the address sanitizer sees a look behind the piece's end. */
        size_t length = piece < size - at ? piece : size - at, used = 0;
        uint8_t *copy = malloc(length);
        memcpy(copy, data + at, length);
        while (used < length) {
            const uint8_t *payload;
            uint32_t value;
            int kind;
            size_t taken = door_parse(copy + used, length - used, &kind, &payload, &value);
            REQUIRE(taken > 0 && taken <= length - used, "the parser goes on, and not beyond the end");
            if (kind == 1)
                REQUIRE(payload >= copy && payload + value <= copy + length, "a payload lies in what was given");
            long event = 0;
            size_t typed = 0;
            for (size_t index = 0; index < taken; index++) {
                long found = model_byte(&model, copy[used + index]);
                if (found < 0) {
                    REQUIRE(kind == 1 && typed < value && payload[typed] == -1 - found, "stdin is as in the model");
                    typed++;
                } else if (found > 0) {
                    REQUIRE(event == 0, "one event at a time");
                    event = found;
                }
            }
            REQUIRE(kind != 1 || typed == value, "no more stdin than in the model");
            REQUIRE(event == (kind > 1 ? (long)kind << 16 | (long)value : 0), "events are as in the model");
            used += taken;
        }
        free(copy);
        at += length;
    }
    return 0;
}
