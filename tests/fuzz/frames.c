/* Compares the parser of uwsgi frames with the model. The input's first byte is the size of the pieces of the rest. */

#include <string.h>

#include "frame_model.h"
#include "require.h"

void door_parser_reset(void);
size_t door_parse(const uint8_t *data, size_t size, int *kind, const uint8_t **payload, uint32_t *value);

/* One call of the parser on these bytes; returns how many it has used. */
static size_t compare_once(struct frame_model *model, const uint8_t *data, size_t size)
{
    const uint8_t *payload;
    uint32_t value;
    int kind;
    long event = 0;
    size_t typed = 0, used = door_parse(data, size, &kind, &payload, &value);
    REQUIRE(used > 0 && used <= size, "the parser advances, and not beyond the end");
    if (kind == 1)
        REQUIRE(payload >= data && payload + value <= data + size, "a payload lies within the bytes given");
    for (size_t index = 0; index < used; index++) {
        long found = model_byte(model, data[index]);
        if (found < 0) {
            REQUIRE(kind == 1 && typed < value && payload[typed] == -1 - found, "stdin is the model's");
            typed++;
        } else if (found > 0) {
            REQUIRE(event == 0, "a call returns one event");
            event = found;
        }
    }
    REQUIRE(kind != 1 || typed == value, "there is no more stdin than the model's");
    REQUIRE(event == (kind > 1 ? (long)kind << 16 | (long)value : 0), "events are the model's");
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_model model = {0};
    size_t piece = size > 0 && *data > 0 ? *data : 65536, at = size > 0 ? 1 : 0;
    door_parser_reset();
    while (at < size) {
        /* An allocation of exactly this size lets the address sanitizer see a read beyond the piece. */
        size_t length = piece < size - at ? piece : size - at, used = 0;
        uint8_t *copy = malloc(length);
        memcpy(copy, data + at, length);
        while (used < length)
            used += compare_once(&model, copy + used, length - used);
        free(copy);
        at += length;
    }
    return 0;
}
