/* Fetching and checking data sets: from files, and from a server on loopback that breaks off. */
#include "tests/data_case.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bench/data/data_fetch.h"
#include "bench/data/data_listing.h"
#include "bench/data/data_verify.h"
#include "tasks/digest.h"

enum { BYTES = 5000 };

static void content(char text[BYTES + 1]) {
    for (int i = 0; i < BYTES; i++) text[i] = (char)('a' + (i / 3 + i * i / 100) % 26);
    text[BYTES] = '\0';
}

/* A download of set/file.txt, whose source is the file "source" of the data folder. */
typedef struct Case {
    DataDownload download;
    char address[PATH_MAX], source[PATH_MAX], path[PATH_MAX], partial[PATH_MAX];
    char digest[DIGEST_BYTES], text[BYTES + 1];
    Error error;
} Case;

static void begin(Case *c) {
    if (system("command -v curl >/dev/null") != 0) skip();
    *c = (Case){.download = {{c->address}, {"set/file.txt", BYTES, c->digest, false}}};
    content(c->text);
    data_case_write("source", c->text, BYTES);
    const char *folder = getenv("LONGHAUL_DATA");
    snprintf(c->source, sizeof c->source, "%s/source", folder);
    snprintf(c->address, sizeof c->address, "file://%s/source", folder);
    snprintf(c->path, sizeof c->path, "%s/set/file.txt", folder);
    snprintf(c->partial, sizeof c->partial, "%s/set/file.txt.partial", folder);
    unlink(c->path);
    unlink(c->partial);
    assert_int_equal(digest_file(c->source, "sha256:", c->digest, &c->error), STATUS_OK);
}

static Status fetch(Case *c) {
    c->error = (Error){0};
    return data_download(&c->download, "", true, &c->error);
}

static void expect_whole(Case *c) {
    if (fetch(c) != STATUS_OK) fail_msg("%s", c->error.message);
    assert_int_equal(digest_check(c->path, c->digest, &c->error), STATUS_OK);
    assert_false(file_exists(c->partial));
}

static void expect_failure(Case *c, Status status, const char *words) {
    const Status got = fetch(c);
    if (got != status || !strstr(c->error.message, words))
        fail_msg("status %d, %s", (int)got, c->error.message);
}

static void a_file_gets_its_name_when_it_is_whole(void **state) {
    (void)state;
    Case c;
    begin(&c);
    expect_whole(&c);
    unlink(c.source); /* not needed any more: what is here is left alone */
    expect_whole(&c);
}

static void a_partial_file_is_continued(void **state) {
    (void)state;
    Case c;
    begin(&c);
    data_case_write("set/file.txt.partial", c.text, 1234);
    /* the source has lost its beginning: only a continued transfer can be right */
    char wrong[BYTES];
    memcpy(wrong, c.text, BYTES);
    memset(wrong, '#', 1234);
    data_case_write("source", wrong, BYTES);
    expect_whole(&c);
    begin(&c);
    data_case_write("set/file.txt.partial", c.text, BYTES); /* killed before the renaming */
    unlink(c.source);
    expect_whole(&c);
}

static void a_wrong_beginning_is_thrown_away(void **state) {
    (void)state;
    Case c;
    begin(&c);
    data_case_write("set/file.txt.partial", "something else", 14);
    expect_whole(&c);
}

static void wrong_files_never_get_the_name(void **state) {
    (void)state;
    Case c;
    begin(&c);
    char wrong[BYTES] = {0}; /* all zeros */
    data_case_write("source", wrong, BYTES);
    expect_failure(&c, STATUS_DATA, "wrong checksum");
    assert_false(file_exists(c.path));
    assert_false(file_exists(c.partial));
    data_case_write("source", c.text, 100);
    expect_failure(&c, STATUS_DATA, "100 bytes, expected 5000");
    assert_false(file_exists(c.path));
    data_case_write("source", "", 0);
    c.download.file.bytes = 0;
    c.download.file.digest = NULL;
    expect_failure(&c, STATUS_DATA, "empty");
    begin(&c);
    data_case_write("set/file.txt", wrong, BYTES); /* was there before */
    expect_failure(&c, STATUS_DATA, "remove this file");
}

static void what_hinders_is_named(void **state) {
    (void)state;
    Case c;
    begin(&c);
    unlink(c.source);
    expect_failure(&c, STATUS_DATA, "no such file");
    begin(&c);
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    expect_failure(&c, STATUS_DATA, "'curl' is needed");
    setenv("PATH", path, 1);
    free(path);
    data_case_write("set/file.txt.partial", c.text, 10);
    FILE *other = fopen(c.partial, "r");
    assert_int_equal(flock(fileno(other), LOCK_EX), 0);
    expect_failure(&c, STATUS_INTERRUPTED, "another process");
    fclose(other);
    expect_whole(&c);
}

static void another_address_is_tried(void **state) {
    (void)state;
    Case c;
    begin(&c);
    c.download.addresses[1] = c.address;
    c.download.addresses[0] = "file:///nonexistent/file.txt";
    expect_whole(&c);
    begin(&c);
    c.download.addresses[0] = "file:///nonexistent/file.txt"; /* a mirror with the same name */
    char mirror[PATH_MAX];
    data_case_write("mirror/file.txt", c.text, BYTES);
    snprintf(mirror, sizeof mirror, "file://%s/mirror", getenv("LONGHAUL_DATA"));
    if (data_download(&c.download, mirror, true, &c.error) != STATUS_OK)
        fail_msg("%s", c.error.message);
}

/* ---- a server that breaks off the first answer and serves ranges ---- */

static void serve(int listener, const char *text) {
    for (int request = 0; request < 2; request++) {
        const int client = accept(listener, NULL, NULL);
        char question[4096] = "";
        if (client < 0 || read(client, question, sizeof question - 1) <= 0) _exit(1);
        const char *range = strstr(question, "Range: bytes=");
        const int from = range ? atoi(range + strlen("Range: bytes=")) : 0;
        char head[256];
        const int length = snprintf(
            head, sizeof head,
            "HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n"
            "Connection: close\r\n\r\n",
            range ? "206 Partial Content" : "200 OK", BYTES - from, from, BYTES - 1, BYTES);
        const int bytes = request == 0 ? 2000 : BYTES - from;
        if (write(client, head, (size_t)length) != length) _exit(1);
        if (write(client, text + from, (size_t)bytes) != bytes) _exit(1);
        shutdown(client, SHUT_WR);
        while (read(client, question, sizeof question) > 0) continue;
        close(client);
    }
    _exit(0);
}

static void a_transfer_that_breaks_off_is_continued(void **state) {
    (void)state;
    Case c;
    begin(&c);
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    const pid_t server = fork();
    if (server == 0) {
        alarm(60);
        serve(listener, c.text);
    }
    close(listener);
    setenv("no_proxy", "127.0.0.1", 1);
    snprintf(c.address, sizeof c.address, "http://127.0.0.1:%d/file.txt", ntohs(address.sin_port));
    expect_failure(&c, STATUS_DATA, "after the 2000 bytes");
    assert_false(file_exists(c.path));
    assert_true(file_exists(c.partial));
    expect_whole(&c);
    int how;
    assert_int_equal(waitpid(server, &how, 0), server);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

/* ---- a bucket with a listing in two pages ---- */

typedef struct BucketCase {
    const char *first_key; /* of the first page */
    const char *digest;    /* of test/1.txt; NULL: a page of nothing, and more to come */
    int requests;          /* that the server answers before it ends */
} BucketCase;

static void answer(int client, const char *status, const char *text) {
    char head[200];
    const int length = snprintf(head, sizeof head,
                                "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                                status, strlen(text));
    if (write(client, head, (size_t)length) != length ||
        write(client, text, strlen(text)) != (ssize_t)strlen(text))
        _exit(1);
}

static void serve_bucket(int listener, const BucketCase *bucket) {
    for (int request = 0; request < bucket->requests; request++) {
        const int client = accept(listener, NULL, NULL);
        char question[4096] = "", text[1024];
        if (client < 0 || read(client, question, sizeof question - 1) <= 0) _exit(1);
        if (!bucket->digest) {
            answer(client, "200 OK",
                   "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>");
        } else if (strstr(question, "GET /?prefix=test/&marker= ")) {
            snprintf(text, sizeof text,
                     "<?xml version='1.0'?><ListBucketResult><IsTruncated>true</IsTruncated>"
                     "<Contents><Key>test/</Key><Size>0</Size></Contents>"
                     "<Contents><Key>%s</Key><ETag>&quot;%s&quot;</ETag><Size>8</Size></Contents>"
                     "</ListBucketResult>",
                     bucket->first_key, bucket->digest);
            answer(client, "200 OK", text);
        } else if (strstr(question, "GET /?prefix=test/&marker=test/1.txt ")) {
            answer(client, "200 OK",
                   "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>test/2.txt"
                   "</Key><Size>8</Size></Contents></ListBucketResult>");
        } else if (strstr(question, "GET /test/1.txt ")) {
            answer(client, "200 OK", "one book");
        } else if (strstr(question, "GET /test/2.txt ")) {
            answer(client, "200 OK", "two book");
        } else {
            answer(client, "404 Not Found", "");
        }
        shutdown(client, SHUT_WR);
        while (read(client, question, sizeof question) > 0) continue;
        close(client);
    }
    _exit(0);
}

/* Fetches from a server of its own and returns what came of it. */
static Status fetch_bucket(const BucketCase *bucket, int64_t *files, Error *error) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    assert_int_equal(bind(listener, (struct sockaddr *)&place, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&place, &size), 0);
    const pid_t server = fork();
    if (server == 0) {
        alarm(60);
        serve_bucket(listener, bucket);
    }
    close(listener);
    setenv("no_proxy", "127.0.0.1", 1);
    char address[64];
    snprintf(address, sizeof address, "http://127.0.0.1:%d", ntohs(place.sin_port));
    const DataSet set = {.name = "books",
                         .folders = {"books"},
                         .files = {{.path = "test", .folder = true}},
                         .bucket = address};
    *error = (Error){0};
    const Status status = data_fetch_listed(&set, "", true, files, error);
    int how;
    assert_int_equal(waitpid(server, &how, 0), server);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0); /* every request came that was expected */
    return status;
}

static void a_listed_set_is_fetched_file_by_file(void **state) {
    (void)state;
    if (system("command -v curl >/dev/null") != 0) skip();
    char md5[DIGEST_BYTES], path[PATH_MAX];
    Error error;
    int64_t files;
    data_case_text("one", "one book");
    snprintf(path, sizeof path, "%s/one", getenv("LONGHAUL_DATA"));
    assert_int_equal(digest_file(path, "md5:", md5, &error), STATUS_OK);
    BucketCase bucket = {"test/1.txt", md5 + 4, 4}; /* two pages, two files */
    if (fetch_bucket(&bucket, &files, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(files, 2);
    char *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/books/test/2.txt", getenv("LONGHAUL_DATA"));
    assert_int_equal(file_read(path, &text, &bytes, NULL), STATUS_OK);
    assert_string_equal(text, "two book");
    free(text);
    bucket.requests = 2; /* what is here and fits is not asked for again */
    assert_int_equal(fetch_bucket(&bucket, &files, &error), STATUS_OK);
    bucket.requests = 1;
    bucket.digest = "00000000000000000000000000000000";
    assert_int_equal(fetch_bucket(&bucket, &files, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "remove this file"));
    bucket.first_key = "../outside.txt";
    assert_int_equal(fetch_bucket(&bucket, &files, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "no name below"));
    bucket.digest = NULL;
    assert_int_equal(fetch_bucket(&bucket, &files, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "the listing goes on, but no further than ''"));
}

/* ---- verify ---- */

static void verifying_tells_whole_parts_and_damage(void **state) {
    (void)state;
    const DataSet *set = data_set_find("tiny-shakespeare");
    DataReport report;
    Error error = {0};
    assert_int_equal(data_verify(set, &report, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "longhaul data fetch tiny-shakespeare"));
    char text[4 * BYTES + 1], path[PATH_MAX], digest[DIGEST_BYTES], list[256];
    for (int i = 0; i < 4; i++) content(text + i * BYTES);
    data_case_write("tiny-shakespeare/input.txt", text, 4 * BYTES);
    error = (Error){0};
    assert_int_equal(data_verify(set, &report, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "wrong checksum"));
    snprintf(path, sizeof path, "%s/tiny-shakespeare/input.txt", getenv("LONGHAUL_DATA"));
    digest_file(path, "sha256:", digest, &error);
    snprintf(list, sizeof list, "%s  input.txt\n", strchr(digest, ':') + 1);
    data_case_text("tiny-shakespeare/SHA256SUMS", list);
    error = (Error){0};
    if (data_verify(set, &report, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(report.state, DATA_PART);
    assert_int_equal(report.checked, 1);
    assert_true(report.counts[SPLIT_TEST] > 0);
    text[17] = '!';
    data_case_write("tiny-shakespeare/input.txt", text, 4 * BYTES);
    assert_int_equal(data_verify(set, &report, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "SHA256SUMS line 1"));
    error = (Error){0};
    data_case_text("tiny-shakespeare/SHA256SUMS", "no digest\n");
    assert_int_equal(data_verify(set, &report, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "expected 64 hexadecimal digits"));
}

static void the_table_of_sets_is_sound(void **state) {
    (void)state;
    int count;
    const DataSet *sets = data_set_list(&count);
    for (int i = 0; i < count; i++) {
        const DataSet *set = &sets[i];
        assert_true(i == 0 || strcmp(sets[i - 1].name, set->name) < 0);
        assert_ptr_equal(data_set_find(set->name), set);
        assert_true(set->title && set->terms && set->note && set->settings && set->folders[0]);
        assert_non_null(task_find(set->task));
        TaskCase c; /* the settings are ones that the task takes */
        if (case_check(&c, set->task, set->settings) != STATUS_OK) fail_msg("%s", c.error.message);
        free(c.options);
        assert_true(set->files[0].path && (set->downloads[0].file.path || set->bucket));
        for (int k = 0; k < DATA_FILES; k++) {
            const char *digests[] = {set->files[k].digest, set->downloads[k].file.digest};
            for (int d = 0; d < 2; d++) {
                if (!digests[d]) continue;
                const char *hex = strchr(digests[d], ':');
                assert_non_null(hex);
                assert_int_equal(strspn(hex + 1, "0123456789abcdef"), strlen(hex + 1));
                const size_t digits = digests[d][0] == 'm' ? 32 : digests[d][0] == 'g' ? 40 : 64;
                assert_int_equal(strlen(hex + 1), digits);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_gets_its_name_when_it_is_whole),
        cmocka_unit_test(a_partial_file_is_continued),
        cmocka_unit_test(a_wrong_beginning_is_thrown_away),
        cmocka_unit_test(wrong_files_never_get_the_name),
        cmocka_unit_test(what_hinders_is_named),
        cmocka_unit_test(another_address_is_tried),
        cmocka_unit_test(a_transfer_that_breaks_off_is_continued),
        cmocka_unit_test(a_listed_set_is_fetched_file_by_file),
        cmocka_unit_test(verifying_tells_whole_parts_and_damage),
        cmocka_unit_test(the_table_of_sets_is_sound),
    };
    return cmocka_run_group_tests_name("data", tests, data_case_begin, data_case_end);
}
