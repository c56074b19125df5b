/* Data sets in the forms in which they are published: packed files, tar and zip archives, whole and
 * damaged. The archives are built here, byte by byte, so that every kind of damage can be made. */
#include "tests/data_case.h"

#include <zlib.h>

#include "tasks/archive.h"
#include "tasks/data.h"
#include "tasks/digest.h"
#include "tasks/packed.h"

static void path_of(char path[PATH_MAX], const char *name) {
    snprintf(path, PATH_MAX, "%s/%s", getenv("LONGHAUL_DATA"), name);
}

static void write_gz(const char *name, const void *bytes, size_t count) {
    char path[PATH_MAX];
    path_of(path, name);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)count), count);
    assert_int_equal(gzclose(file), Z_OK);
}

static void cut(const char *name, long bytes) {
    char path[PATH_MAX];
    path_of(path, name);
    assert_int_equal(truncate(path, bytes), 0);
}

static long size_of(const char *name) {
    char path[PATH_MAX];
    struct stat facts;
    path_of(path, name);
    assert_int_equal(stat(path, &facts), 0);
    return (long)facts.st_size;
}

static void expect_content(const char *name, const char *text) {
    char path[PATH_MAX], *data;
    size_t bytes;
    Error error = {0};
    path_of(path, name);
    if (packed_read(path, &data, &bytes, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(data, text);
    free(data);
}

static void expect_unreadable(const char *name, const char *words) {
    char path[PATH_MAX], *data;
    size_t bytes;
    Error error = {0};
    path_of(path, name);
    assert_int_equal(packed_read(path, &data, &bytes, &error), STATUS_DATA);
    if (!strstr(error.message, words)) fail_msg("%s", error.message);
}

static void packed_files_read_as_what_they_hold(void **state) {
    (void)state;
    static char text[300000];
    for (int i = 0; i < 299999; i++) text[i] = (char)('a' + i % 7919 % 26);
    data_case_text("plain", text);
    expect_content("plain", text);
    write_gz("packed.gz", text, 299999);
    expect_content("packed.gz", text);
    data_case_text("empty", "");
    expect_content("empty", "");
    cut("packed.gz", size_of("packed.gz") / 2);
    expect_unreadable("packed.gz", "cut off");
    expect_unreadable("missing", "no file");
}

static void zstd_is_asked_to_unpack(void **state) {
    (void)state;
    char command[2 * PATH_MAX];
    static char text[200000];
    for (int i = 0; i < 199999; i++) text[i] = (char)('a' + i % 7919 % 23);
    data_case_text("file", text);
    snprintf(command, sizeof command, "zstd -q -f '%s/file'", getenv("LONGHAUL_DATA"));
    if (system("command -v zstd >/dev/null") != 0) skip();
    assert_int_equal(system(command), 0);
    expect_content("file.zst", text);
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    expect_unreadable("file.zst", "'zstd' is needed");
    setenv("PATH", path, 1);
    free(path);
    cut("file.zst", size_of("file.zst") / 2);
    expect_unreadable("file.zst", "cut off");
}

/* ---- tar ---- */

typedef struct Tar {
    char bytes[32768];
    size_t used;
} Tar;

/* Writes the sum of a header into it. */
static void tar_sum(char *block) {
    memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
}

static void tar_add(Tar *tar, const char *name, char type, const char *content) {
    char *block = tar->bytes + tar->used;
    const size_t size = strlen(content);
    memset(block, 0, 512);
    snprintf(block, 100, "%s", name);
    snprintf(block + 124, 12, "%011o", (unsigned)size);
    block[156] = type;
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    tar_sum(block);
    memcpy(block + 512, content, size);
    tar->used += 512 + (size + 511) / 512 * 512;
}

static Tar *make_tar(void) {
    Tar *tar = calloc(1, sizeof *tar);
    tar_add(tar, "set/", '5', "");
    tar_add(tar, "set/one.txt", '0', "first file");
    tar_add(tar, "././@LongLink", 'L', "set/deep/a_long_name.txt");
    tar_add(tar, "set/deep/a_lo", '0', "second");
    tar_add(tar, "x", 'x', "35 path=set/deep/from_pax_name.txt\n");
    tar_add(tar, "set/deep/from", '0', "third");
    tar_add(tar, "set/link", '2', "");
    tar->used += 1024;
    return tar;
}

static Status unpack(const char *name, const char *folder, Error *error) {
    char archive[PATH_MAX], to[PATH_MAX];
    path_of(archive, name);
    path_of(to, folder);
    *error = (Error){0};
    return archive_unpack(archive, to, error);
}

static void expect_refused(const char *name, const char *words) {
    Error error;
    char folder[PATH_MAX];
    assert_int_equal(unpack(name, "refused", &error), STATUS_DATA);
    if (!strstr(error.message, words)) fail_msg("%s: %s", name, error.message);
    path_of(folder, "refused"); /* nothing half done stays */
    assert_false(file_exists(folder));
}

static void tar_archives_unpack_whole_or_not_at_all(void **state) {
    (void)state;
    Tar *tar = make_tar();
    Error error;
    write_gz("set.tar.gz", tar->bytes, tar->used);
    data_case_write("set.tar", tar->bytes, tar->used);
    static const char *const archives[][2] = {{"set.tar.gz", "from_gz"}, {"set.tar", "from_tar"}};
    for (int i = 0; i < 2; i++) {
        if (unpack(archives[i][0], archives[i][1], &error) != STATUS_OK)
            fail_msg("%s", error.message);
        char name[256];
        snprintf(name, sizeof name, "%s/set/one.txt", archives[i][1]);
        expect_content(name, "first file");
        snprintf(name, sizeof name, "%s/set/deep/a_long_name.txt", archives[i][1]);
        expect_content(name, "second");
        snprintf(name, sizeof name, "%s/set/deep/from_pax_name.txt", archives[i][1]);
        expect_content(name, "third");
    }
    cut("set.tar", 512 + 100);
    expect_refused("set.tar", "cut off");
    cut("set.tar.gz", size_of("set.tar.gz") - 20);
    expect_refused("set.tar.gz", "cut off");
    tar->bytes[512 + 3] ^= 1; /* a letter of a name */
    data_case_write("set.tar", tar->bytes, tar->used);
    expect_refused("set.tar", "damaged");
    memset(tar->bytes, 0, sizeof tar->bytes);
    data_case_write("set.tar", tar->bytes, 4096);
    expect_refused("set.tar", "damaged");
    data_case_text("set.tar", "this is no archive at all");
    expect_refused("set.tar", "cut off");
    *tar = (Tar){0};
    tar_add(tar, "../outside.txt", '0', "x");
    tar->used += 1024;
    data_case_write("set.tar", tar->bytes, tar->used);
    expect_refused("set.tar", "leads out");
    *tar = (Tar){0};
    tar_add(tar, "huge.txt", '0', "x"); /* of 2^63 - 1 bytes, in GNU's binary form */
    memcpy(tar->bytes + 124, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12);
    tar_sum(tar->bytes);
    data_case_write("set.tar", tar->bytes, sizeof tar->bytes);
    expect_refused("set.tar", "cut off");
    free(tar);
}

/* ---- zip ---- */

static void put(uint8_t **at, unsigned long value, int bytes) {
    for (int i = 0; i < bytes; i++) *(*at)++ = (uint8_t)(value >> 8 * i);
}

/* One member, stored or deflated. */
static size_t make_zip(uint8_t *zip, const char *name, const char *content, bool deflated) {
    const size_t size = strlen(content);
    uint8_t packed[4096], *at = zip;
    z_stream stream = {.next_in = (Bytef *)content,
                       .avail_in = (uInt)size,
                       .next_out = packed,
                       .avail_out = sizeof packed};
    deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    deflate(&stream, Z_FINISH);
    const size_t bytes = deflated ? stream.total_out : size;
    deflateEnd(&stream);
    const unsigned long sum = crc32(0, (const Bytef *)content, (uInt)size);
    for (int central = 0; central < 2; central++) {
        put(&at, central ? 0x02014B50 : 0x04034B50, 4);
        if (central) put(&at, 20, 2);
        put(&at, 20, 2);
        put(&at, 0, 2);
        put(&at, deflated ? 8 : 0, 2);
        put(&at, 0, 4);
        put(&at, sum, 4);
        put(&at, bytes, 4);
        put(&at, size, 4);
        put(&at, strlen(name), 2);
        put(&at, 0, 2);
        for (int i = 0; i < 7 && central; i++) put(&at, 0, 2); /* the last two: offset 0 */
        memcpy(at, name, strlen(name));
        at += strlen(name);
        if (!central) memcpy(at, deflated ? (const void *)packed : content, bytes);
        if (!central) at += bytes;
    }
    const size_t directory = 30 + strlen(name) + bytes, end = (size_t)(at - zip);
    put(&at, 0x06054B50, 4);
    put(&at, 0, 4);
    put(&at, 1, 2);
    put(&at, 1, 2);
    put(&at, end - directory, 4);
    put(&at, directory, 4);
    put(&at, 0, 2);
    return (size_t)(at - zip);
}

static void zip_archives_unpack_whole_or_not_at_all(void **state) {
    (void)state;
    uint8_t zip[8192];
    Error error;
    const char *text = "some text some text some text some text some text";
    for (int deflated = 0; deflated < 2; deflated++) {
        const size_t size = make_zip(zip, "folder/text8", text, deflated);
        const char *folder = deflated ? "inflated" : "stored";
        char name[64];
        data_case_write("set.zip", zip, size);
        if (unpack("set.zip", folder, &error) != STATUS_OK) fail_msg("%s", error.message);
        snprintf(name, sizeof name, "%s/folder/text8", folder);
        expect_content(name, text);
        zip[30 + 12 + 5] ^= 4;
        data_case_write("set.zip", zip, size);
        expect_refused("set.zip", "checksum");
        cut("set.zip", (long)size - 30);
        expect_refused("set.zip", "directory is missing");
    }
    const size_t size = make_zip(zip, "/etc/x", text, false);
    data_case_write("set.zip", zip, size);
    expect_refused("set.zip", "leads out");
}

/* ---- finding ---- */

static void sets_are_found_as_they_lie(void **state) {
    (void)state;
    char path[PATH_MAX], *data;
    size_t bytes;
    Error error = {0};
    assert_int_equal(data_find("enwik8", "enwik8", DATA_FILE, path, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "longhaul data fetch enwik8"));
    assert_non_null(strstr(error.message, "http://mattmahoney.net/dc/enwik8.zip"));
    error = (Error){0};
    uint8_t zip[8192];
    const size_t size = make_zip(zip, "enwik8", "the text", true);
    data_case_write("enwik8/enwik8.zip", zip, size); /* the folder has the file's name */
    if (data_find("enwik8", "enwik8", DATA_FILE, path, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    assert_non_null(strstr(path, "/cache/"));
    assert_int_equal(packed_read(path, &data, &bytes, &error), STATUS_OK);
    assert_string_equal(data, "the text");
    free(data);
    /* a second look finds what is unpacked; another archive of that name is another one */
    assert_int_equal(data_find("enwik8", "enwik8", DATA_FILE, path, &error), STATUS_OK);
    data_case_write("enwik8/enwik8.zip", zip, size - 10);
    assert_int_equal(data_find("enwik8", "enwik8", DATA_FILE, path, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "enwik8.zip"));
    error = (Error){0};
    data_case_text("enwik8/enwik8", "unpacked by hand");
    assert_int_equal(data_find("enwik8", "enwik8", DATA_FILE, path, &error), STATUS_OK);
    assert_null(strstr(path, "/cache/"));
}

static void digests_are_the_published_functions(void **state) {
    (void)state;
    static const char *const digests[] = {
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha1:a9993e364706816aba3e25717850c26c9cd0d89d", "md5:900150983cd24fb0d6963f7d28e17f72",
        "git:f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"};
    char path[PATH_MAX];
    Error error = {0};
    data_case_text("abc", "abc");
    path_of(path, "abc");
    for (int i = 0; i < 4; i++)
        if (digest_check(path, digests[i], &error) != STATUS_OK) fail_msg("%s", error.message);
    data_case_text("abc", "abd");
    assert_int_equal(digest_check(path, digests[0], &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "wrong checksum"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_files_read_as_what_they_hold),
        cmocka_unit_test(zstd_is_asked_to_unpack),
        cmocka_unit_test(tar_archives_unpack_whole_or_not_at_all),
        cmocka_unit_test(zip_archives_unpack_whole_or_not_at_all),
        cmocka_unit_test(sets_are_found_as_they_lie),
        cmocka_unit_test(digests_are_the_published_functions),
    };
    return cmocka_run_group_tests_name("archive", tests, data_case_begin, data_case_end);
}
