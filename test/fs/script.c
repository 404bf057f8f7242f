/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scripts: splitting into steps, identities, and comparing what came with what was expected.
 *
 * Invariant: a step that cannot be understood fails its case, loudly; nothing is passed over.
 */
#include "harness.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_WORDS 16

static const struct {
    const char *name;
    int number;
} errors[] = {
#define ERROR(name) \
 {                  \
#  name, name       \
 }
    ERROR(EPERM),     ERROR(ENOENT),   ERROR(EINTR),        ERROR(EIO),     ERROR(ENXIO),
    ERROR(E2BIG),     ERROR(EBADF),    ERROR(EAGAIN),       ERROR(ENOMEM),  ERROR(EACCES),
    ERROR(EFAULT),    ERROR(EBUSY),    ERROR(EEXIST),       ERROR(EXDEV),   ERROR(ENODEV),
    ERROR(ENOTDIR),   ERROR(EISDIR),   ERROR(EINVAL),       ERROR(ENFILE),  ERROR(EMFILE),
    ERROR(ENOTTY),    ERROR(ETXTBSY),  ERROR(EFBIG),        ERROR(ENOSPC),  ERROR(ESPIPE),
    ERROR(EROFS),     ERROR(EMLINK),   ERROR(EPIPE),        ERROR(ERANGE),  ERROR(EDEADLK),
    ERROR(ENOSYS),    ERROR(ELOOP),    ERROR(ENAMETOOLONG), ERROR(ENODATA), ERROR(ENOTEMPTY),
    ERROR(EOVERFLOW), ERROR(ESTALE),   ERROR(EOPNOTSUPP),   ERROR(ENOEXEC), ERROR(EUCLEAN),
    ERROR(EDQUOT),    ERROR(ENOTCONN), ERROR(ENOLCK),
#undef ERROR
};

const char *error_name(int error)
{
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        if (errors[i].number == error)
            return errors[i].name;
    }
    return text("error %d", error);
}

int error_number(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    }
    return -1;
}

static int slots[26];
static bool slots_ready;

static int *slot_find(const char *word)
{
    const char *letter = word[0] == '$' ? word + 1 : word;

    if (!slots_ready) {
        for (size_t i = 0; i < ARRAY_COUNT(slots); i++)
            slots[i] = -1;
        slots_ready = true;
    }
    if (letter[0] < 'a' || letter[0] > 'z' || letter[1])
        case_fail("bad step: %s is no descriptor slot", word);
    return &slots[letter[0] - 'a'];
}

int slot_descriptor(const char *word)
{
    return *slot_find(word);
}

void slot_set(const char *word, int descriptor)
{
    *slot_find(word) = descriptor;
}

int64_t number_parse(const char *word)
{
    const char *at = word;
    int64_t sum = 0;

    do {
        char *end;
        int64_t term = strtoll(at, &end, 10);
        if (end == at)
            case_fail("bad step: %s is no number", word);
        const char *units = "KMGT";
        const char *unit = *end ? strchr(units, *end) : NULL;
        if (unit) {
            term *= INT64_C(1) << (10 * (unit - units + 1));
            end++;
        }
        sum += term;
        at = end;
    } while (*at);
    return sum;
}

mode_t mode_parse(const char *word)
{
    char *end;
    unsigned long mode = strtoul(word, &end, 8);

    if (end == word || *end)
        case_fail("bad step: %s is no mode", word);
    return (mode_t)mode;
}

uint64_t bits_parse(const char *word, const struct bit_name *names)
{
    char copy[256];
    char *rest = NULL;
    uint64_t bits = 0;

    if (isdigit((unsigned char)word[0]))
        return strtoull(word, NULL, 0);
    snprintf(copy, sizeof(copy), "%s", word);
    for (char *part = strtok_r(copy, "|", &rest); part; part = strtok_r(NULL, "|", &rest)) {
        const struct bit_name *name = names;
        while (name->name && strcmp(name->name, part) != 0)
            name++;
        if (!name->name)
            case_fail("bad step: %s is no flag", part);
        bits |= name->bits;
    }
    return bits;
}

void data_parse(const char *word, char **ret_data, size_t *ret_length)
{
    char copy[8192];
    char *data = NULL, *rest = NULL;
    size_t length = 0;

    snprintf(copy, sizeof(copy), "%s", word);
    for (char *part = strtok_r(copy, "+", &rest); part; part = strtok_r(NULL, "+", &rest)) {
        bool repeated = part[0] && part[1] == '*' && part[2];
        size_t more = repeated ? (size_t)number_parse(part + 2) : strlen(part);
        data = realloc(data, length + more + 1);
        if (!data)
            case_fail("out of memory");
        if (repeated)
            memset(data + length, part[0] == '0' ? 0 : part[0], more);
        else
            memcpy(data + length, part, more);
        length += more;
    }
    *ret_data = data ? data : calloc(1, 1);
    *ret_length = length;
}

void result_int(struct result *result, int64_t returned)
{
    if (returned == -1)
        result->error = errno;
    else
        result->value = returned;
}

void result_data(struct result *result, const void *data, size_t length)
{
    result->data = malloc(length + 1);
    if (!result->data)
        case_fail("out of memory");
    memcpy(result->data, data, length);
    result->data[length] = 0;
    result->length = length;
}

void result_text(struct result *result, const char *value)
{
    result_data(result, value, strlen(value));
}

void identity_set(const char *who)
{
    static const struct {
        const char *name;
        const char *identity;
    } short_names[] = {
        { "r", "0:0" },       { "u", "1001:1001" },      { "v", "1002:1002" },
        { "g", "1003:1001" }, { "s", "1004:1004:1001" },
    };
    gid_t groups[16];
    size_t count = 0;
    char *at;

    if (setresuid(0, 0, 0) < 0 || setresgid(0, 0, 0) < 0 || setgroups(0, NULL) < 0)
        case_fail("becoming root again: %s", error_name(errno));
    if (!who)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(short_names); i++) {
        if (strcmp(short_names[i].name, who) == 0)
            who = short_names[i].identity;
    }
    uid_t uid = (uid_t)strtoul(who, &at, 10);
    if (at == who || *at != ':')
        case_fail("bad step: %s is nobody", who);
    gid_t gid = (gid_t)strtoul(at + 1, &at, 10);
    while ((*at == ':' || *at == ',') && count < ARRAY_COUNT(groups))
        groups[count++] = (gid_t)strtoul(at + 1, &at, 10);
    if (*at)
        case_fail("bad step: %s is nobody", who);
    /* The saved ids stay 0, so that the case can come back; effective capabilities go with the
     * effective uid, and access(2) goes by the real one. */
    if (setgroups(count, groups) < 0 || setresgid(gid, gid, 0) < 0 || setresuid(uid, uid, 0) < 0)
        case_fail("becoming %s: %s", who, error_name(errno));
}

/* @N and @PN, see harness.h. */
static char *word_expand(const char *word)
{
    size_t room = strlen(word) + 1, length = 0;

    if (strcmp(word, "\"\"") == 0)
        return strdup("");
    for (const char *at = strchr(word, '@'); at; at = strchr(at + 1, '@'))
        room += strtoul(at + (at[1] == 'P' ? 2 : 1), NULL, 10);
    char *expanded = malloc(room);
    if (!expanded)
        case_fail("out of memory");
    while (*word) {
        bool padding = word[0] == '@' && word[1] == 'P';
        const char *digits = word + (padding ? 2 : 1);
        if (word[0] != '@' || !isdigit((unsigned char)*digits)) {
            expanded[length++] = *word++;
            continue;
        }
        char *end;
        size_t count = strtoul(digits, &end, 10);
        for (size_t i = 0; i < count; i++)
            expanded[length++] = !padding ? 'x' : i % 2 == 0 && i + 1 < count ? '.' : '/';
        word = end;
    }
    expanded[length] = 0;
    return expanded;
}

struct step {
    char *words[STEP_WORDS + 1]; /* operation and arguments, expanded */
    int count;
    const char *who;
    const char *compare;
    const char *expected;
};

static bool compare_is(const char *word)
{
    static const char *const compares[] = { "=", "!=", "<", "<=", ">", ">=" };

    for (size_t i = 0; i < ARRAY_COUNT(compares); i++) {
        if (strcmp(word, compares[i]) == 0)
            return true;
    }
    return false;
}

/* Returns false for an empty step. `line` is cut up, and what the step points to lies in it. */
static bool step_parse(char *line, struct step *ret_step)
{
    char *rest = NULL;
    struct step step = { .compare = "=", .expected = "ok" };

    for (char *word = strtok_r(line, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        size_t length = strlen(word);
        if (step.count == 0 && !step.who && length > 1 && word[length - 1] == '>') {
            word[length - 1] = 0;
            step.who = word;
        } else if (compare_is(word)) {
            step.compare = word;
            step.expected = strtok_r(NULL, " \t", &rest);
            if (!step.expected || strtok_r(NULL, " \t", &rest))
                case_fail("bad step: one word is expected after %s", word);
        } else if (step.count == STEP_WORDS) {
            case_fail("bad step: too many words");
        } else {
            step.words[step.count++] = word_expand(word);
        }
    }
    *ret_step = step;
    return step.count > 0;
}

static const struct op *op_find(const char *name)
{
    const struct op *const tables[] = { ops_name, ops_data, ops_attr };

    for (size_t i = 0; i < ARRAY_COUNT(tables); i++) {
        for (const struct op *op = tables[i]; op->name; op++) {
            if (strcmp(op->name, name) == 0)
                return op;
        }
    }
    case_fail("bad step: no operation is called %s", name);
}

static bool number_matches(int64_t value, const char *compare, int64_t expected)
{
    bool equal_counts = compare[strlen(compare) - 1] == '=' && compare[0] != '!';

    if (value == expected)
        return equal_counts;
    if (compare[0] == '=')
        return false;
    return compare[0] == '!' || (compare[0] == '<') == (value < expected);
}

static bool result_matches(const struct result *result, const char *compare, const char *expected)
{
    int error = error_number(expected);

    if (strcmp(expected, "ok") == 0)
        return !result->error;
    if (error >= 0)
        return (result->error == error) == (compare[0] == '=');
    if (result->error)
        return false;
    if (!result->data)
        return number_matches(result->value, compare, number_parse(expected));

    char *data;
    size_t length;
    data_parse(strcmp(expected, "\"\"") == 0 ? "" : expected, &data, &length);
    bool equal = length == result->length && memcmp(data, result->data, length) == 0;
    free(data);
    return equal == (compare[0] == '=');
}

static const char *result_describe(const struct result *result, const char *expected)
{
    if (result->error)
        return error_name(result->error);
    if (strcmp(expected, "ok") == 0 || error_number(expected) >= 0)
        return "ok";
    if (!result->data)
        return text("%lld", (long long)result->value);
    if (result->length <= 80 && strlen(result->data) == result->length)
        return result->length ? text("%s", result->data) : "nothing";

    char *data;
    size_t length, at = 0;
    data_parse(expected, &data, &length);
    while (at < length && at < result->length && data[at] == result->data[at])
        at++;
    unsigned int got = at < result->length ? (unsigned char)result->data[at] : 256;
    free(data);
    return text("%zu bytes, differing from byte %zu on (%#x there)", result->length, at, got);
}

static void step_run(char *line, int number)
{
    struct step step;
    struct result result = { 0 };
    bool matches = false;
    char copy[256];

    snprintf(copy, sizeof(copy), "%.200s", line);
    if (!step_parse(line, &step))
        return;
    const struct op *op = op_find(step.words[0]);
    if (step.count - 1 < op->least || step.count - 1 > op->most)
        case_fail("bad step: %s takes %d to %d arguments", op->name, op->least, op->most);
    if (step.who)
        identity_set(step.who);
    errno = 0;
    op->run(step.words, &result);
    if (step.who)
        identity_set(NULL);

    char alternatives[4096];
    char *rest = NULL;
    snprintf(alternatives, sizeof(alternatives), "%s", step.expected);
    for (char *word = strtok_r(alternatives, "|", &rest); word && !matches;
         word = strtok_r(NULL, "|", &rest))
        matches = result_matches(&result, step.compare, word);
    if (!matches)
        case_fail("step %d `%s': expected %s%s%.200s, got %s", number, copy + strspn(copy, " \t"),
                  step.compare[0] == '=' ? "" : step.compare, step.compare[0] == '=' ? "" : " ",
                  step.expected, result_describe(&result, step.expected));
    free(result.data);
    for (int i = 0; i < step.count; i++)
        free(step.words[i]);
}

void case_script(const char *format, ...)
{
    char script[8192];
    char *rest = NULL;
    int number = 0;
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(script, sizeof(script), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(script))
        case_fail("bad step: the script is too long");
    for (char *line = strtok_r(script, ";\n", &rest); line; line = strtok_r(NULL, ";\n", &rest))
        step_run(line, ++number);
}
