/* Safetensors: round trip, and every way in which a file can be broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/file.h"
#include "engine/safetensors.h"

static char path[] = "/tmp/longhaul-safetensors-XXXXXX";

static int make_path(void **state) {
    (void)state;
    const int descriptor = mkstemp(path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

static void round_trip(void **state) {
    (void)state;
    static const float weights[6] = {1, -2, 3.5f, 0, 1e-30f, 5};
    static const int64_t steps[1] = {1ll << 40};
    static const int32_t tokens[3] = {7, -1, 0};
    static const unsigned char bytes[3] = {1, 2, 255};
    static const double reals[2] = {0.1, -0.2};
    const Safetensor tensors[] = {{"bytes", SAFETENSOR_U8, SHAPE(3), bytes},
                                  {"layers.0.weight", SAFETENSOR_F32, SHAPE(2, 3), weights},
                                  {"empty", SAFETENSOR_F32, SHAPE(0, 3), weights},
                                  {"tokens", SAFETENSOR_I32, SHAPE(3), tokens},
                                  {"step", SAFETENSOR_I64, (Shape){0}, steps},
                                  {"reals", SAFETENSOR_F64, SHAPE(2), reals}};
    const SafetensorNote notes[] = {{"model", "s4d"}, {"options", "width=16 \"quoted\"\n"}};
    Error error = {0};
    assert_int_equal(safetensors_write(path, tensors, 6, notes, 2, &error), STATUS_OK);

    Safetensors file;
    assert_int_equal(safetensors_open(&file, path, &error), STATUS_OK);
    assert_int_equal(file.count, 6);
    assert_string_equal(safetensors_note(&file, "options"), notes[1].text);
    assert_null(safetensors_note(&file, "none"));
    const size_t sizes[] = {3, 24, 0, 12, 8, 16};
    for (int i = 0; i < 6; i++) {
        const Safetensor *tensor = safetensors_find(&file, tensors[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type, tensors[i].type);
        assert_true(shape_equal(&tensor->shape, &tensors[i].shape));
        if (sizes[i]) assert_memory_equal(tensor->data, tensors[i].data, sizes[i]);
    }
    const float *data;
    Shape shape = SHAPE(2, 3), wrong = SHAPE(3, 2);
    assert_int_equal(safetensors_floats(&file, "layers.0.weight", &shape, &data, &error),
                     STATUS_OK);
    assert_true(data[2] == 3.5f);
    assert_int_equal(safetensors_floats(&file, "layers.0.weight", &wrong, &data, &error),
                     STATUS_DATA);
    assert_non_null(strstr(error.message, "is F32 (2, 3); expected F32 (3, 2)"));
    safetensors_close(&file);
}

/* A file from a header text and a number of data bytes. */
static void write_raw(const char *header, size_t data_bytes) {
    char memory[1024] = {0};
    const size_t length = strlen(header);
    memory[0] = (char)(length & 255);
    memory[1] = (char)(length >> 8);
    memcpy(memory + 8, header, length);
    assert_int_equal(file_write(path, memory, 8 + length + data_bytes, NULL), STATUS_OK);
}

static void broken_headers_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t bytes;
    } cases[] = {
        {"", 0},
        {"{", 0},
        {"[]", 0},
        {"{\"__metadata__\":{\"a\":1}}", 0},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4},  /* truncated */
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 12}, /* trailing */
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8},
        {"{\"x\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[2,10]}}", 10},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967298],\"data_offsets\":[0,8]}}", 8},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[6442450944,2147483648,0],\"data_offsets\":[0,0]}}",
         0},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
         16},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_raw(cases[i].header, cases[i].bytes);
        Safetensors file;
        Error error = {0};
        if (safetensors_open(&file, path, &error) != STATUS_DATA) fail_msg("%s", cases[i].header);
        assert_non_null(strstr(error.message, path));
    }
}

/* Other programs do not fill headers up to where numbers may lie. */
static void headers_may_end_anywhere(void **state) {
    (void)state;
    static const float weights[2] = {1, -2};
    const Shape shape = SHAPE(2);
    for (int blanks = 0; blanks < 8; blanks++) {
        char memory[128] = {0};
        const int length = sprintf(
            memory + 8, "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}%*s",
            blanks, "");
        memory[0] = (char)length;
        memcpy(memory + 8 + length, weights, sizeof weights);
        assert_int_equal(file_write(path, memory, 8 + (size_t)length + sizeof weights, NULL),
                         STATUS_OK);
        Safetensors file;
        const float *data;
        assert_int_equal(safetensors_open(&file, path, NULL), STATUS_OK);
        assert_int_equal(safetensors_floats(&file, "x", &shape, &data, NULL), STATUS_OK);
        assert_int_equal((uintptr_t)data % sizeof(float), 0);
        assert_memory_equal(data, weights, sizeof weights);
        safetensors_close(&file);
    }
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    static const float weights[4] = {1, 2, 3, 4};
    const Safetensor tensor = {"w", SAFETENSOR_F32, SHAPE(4), weights};
    assert_int_equal(safetensors_write(path, &tensor, 1, NULL, 0, NULL), STATUS_OK);
    char *whole;
    size_t bytes;
    assert_int_equal(file_read(path, &whole, &bytes, NULL), STATUS_OK);
    for (size_t length = 0; length < bytes; length++) {
        assert_int_equal(file_write(path, whole, length, NULL), STATUS_OK);
        Safetensors file;
        Error error = {0};
        assert_int_equal(safetensors_open(&file, path, &error), STATUS_DATA);
    }
    free(whole);
}

static void missing_file_and_folder_are_named(void **state) {
    (void)state;
    Safetensors file;
    Error error = {0};
    assert_int_equal(safetensors_open(&file, "/tmp/no-such.safetensors", &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "/tmp/no-such.safetensors"));
    error = (Error){0};
    assert_int_equal(safetensors_write("/nowhere/x", NULL, 0, NULL, 0, &error), STATUS_IO);
    assert_non_null(strstr(error.message, "/nowhere/x"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(broken_headers_are_refused),
        cmocka_unit_test(headers_may_end_anywhere),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(missing_file_and_folder_are_named),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
