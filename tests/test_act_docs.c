/* test_act_docs.c: every activation has a page that is up to date, and what the pages state is true.
   SPDX-License-Identifier: MIT

   test_act_docs --write rewrites the generated parts of docs/activations/, and begins pages that are missing.
   test_act_docs --check 'tanh(x) = 2*sigmoid(2*x) - 1' ... says whether statements hold. */
/* ctest: labels=unit timeout=120 */
#include "testing.h"

#include <dirent.h>

#include "docs/page.h"
#include "docs/statement.h"

#define FOLDER HK_SOURCE_DIR "/docs/activations"
static const char *const headings[] = {"\n## Derivative\n", "\n## Identities\n", "\n## Shape\n",
                                       "\n## In float\n", "\n## In training\n"};

/* --- files ----------------------------------------------------------------------------------- */

static char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, FOLDER "/%s.md", name);
    return path;
}

/* The text of a file, to be freed; NULL if there is none. */
static char *read_text(const char *path) {
    FILE *file = fopen(path, "r");
    char *text = file ? calloc(1, 1 << 17) : NULL;
    if (text && fread(text, 1, (1 << 17) - 1, file) == 0) *text = 0;
    if (file) fclose(file);
    return text;
}

/* The same text with `part` in place of its generated part; NULL if it has none. To be freed. */
static char *with_part(const char *text, const char *part) {
    const char *from = strstr(text, PAGE_BEGIN), *to = from ? strstr(from, PAGE_END) : NULL;
    if (!to) return NULL;
    char *result = calloc(1, strlen(text) + strlen(part) + 1);
    if (!result) return NULL;
    memcpy(result, text, (size_t)(from - text));
    strcat(strcat(result, part), to + strlen(PAGE_END));
    return result;
}

static char *empty_page(const char *name, const char *part) {
    char *text = calloc(1, strlen(part) + 1024);
    if (!text) return NULL;
    sprintf(text, "# %s\n\n%s", name, part);
    for (int i = 0; i < COUNT(headings); i++) strcat(text, headings[i]);
    return text;
}

/* --- all pages ------------------------------------------------------------------------------- */

static page made;

/* Calls visit(name, generated part) for the index and for every row. */
static void each_page(hk_context *ctx, void (*visit)(const char *name, const char *part)) {
    const hk_activation_info *row;
    page_of_index(&made, FOLDER);
    visit("README", made.text);
    for (int i = 0; (row = hk_activation_row(NULL, i)) != NULL; i++) {
        assert_true(page_of_row(&made, ctx, row, FOLDER));
        visit(row->name, made.text);
    }
}

static int wrong;

static void is_fresh(const char *name, const char *part) {
    char *text = read_text(path_of(name)), *fresh = text ? with_part(text, part) : NULL;
    if (!text)
        print_message("%s: missing\n", path_of(name));
    else if (!fresh || strcmp(text, fresh) != 0)
        print_message("%s: the generated part is stale: run tests/test_act_docs --write\n",
                      path_of(name));
    wrong += !fresh || strcmp(text, fresh) != 0;
    free(text);
    free(fresh);
}

static void every_page_is_fresh(void **state) {
    wrong = 0;
    each_page(*state, is_fresh);
    assert_int_equal(wrong, 0);
}

static void has_all_parts(const char *name, const char *part) {
    (void)part;
    char *text = read_text(path_of(name)), own[64];
    snprintf(own, sizeof own, "%s'", name);
    for (int i = 0; text && strcmp(name, "README") != 0 && i <= COUNT(headings); i++) {
        const char *wanted = i < COUNT(headings) ? headings[i] : own;
        const hk_activation_info *row = NULL;
        for (int k = 0; i == COUNT(headings) && (row = hk_activation_row(NULL, k)) != NULL; k++)
            if (strcmp(row->name, name) == 0) break;
        if (row && row->kind == HK_ACTIVATION_NETWORK) continue; /* no slope of their own */
        if (strstr(text, wanted)) continue;
        print_message("%s: no '%s'\n", path_of(name), wanted);
        wrong++;
    }
    free(text);
}

static void every_page_has_its_parts(void **state) {
    wrong = 0;
    each_page(*state, has_all_parts);
    assert_int_equal(wrong, 0);
}

/* Calls visit with the text of each Markdown file of the folder. */
static int each_file(void (*visit)(const char *path, const char *name, char *text)) {
    DIR *folder = opendir(FOLDER);
    assert_non_null(folder);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const size_t n = strlen(entry->d_name);
        if (n < 4 || strcmp(entry->d_name + n - 3, ".md") != 0) continue;
        char name[300];
        snprintf(name, sizeof name, "%.*s", (int)(n - 3), entry->d_name);
        char *text = read_text(path_of(name));
        assert_non_null(text);
        visit(path_of(name), name, text);
        free(text);
        files++;
    }
    closedir(folder);
    return files;
}

static void belongs_to_a_row(const char *path, const char *name, char *text) {
    (void)text;
    const hk_activation_info *row;
    bool found = strcmp(name, "README") == 0;
    for (int i = 0; (row = hk_activation_row(NULL, i)) != NULL; i++)
        found |= strcmp(row->name, name) == 0;
    if (!found) print_message("%s: there is no such activation\n", path);
    wrong += !found;
}

static void every_page_has_a_row(void **state) {
    (void)state;
    wrong = 0;
    each_file(belongs_to_a_row);
    assert_int_equal(wrong, 0);
}

/* [text](path) of a file beside the page; the part behind # is not looked at. */
static void links_lead_somewhere(const char *path, const char *name, char *text) {
    (void)name;
    for (char *at = text; (at = strstr(at, "](")) != NULL;) {
        at += 2;
        char target[900];
        const int n = (int)strcspn(at, ")#");
        if (n == 0 || strncmp(at, "http", 4) == 0) continue;
        if (memchr(at, ' ', (size_t)n) || !memchr(at, '.', (size_t)n)) continue; /* f[0](x, 0) */
        snprintf(target, sizeof target, FOLDER "/%.*s", n, at);
        if (page_has(target)) continue;
        print_message("%s: a link to %.*s, which is not there\n", path, n, at);
        wrong++;
    }
}

static void every_link_leads_somewhere(void **state) {
    (void)state;
    wrong = 0;
    each_file(links_lead_somewhere);
    assert_int_equal(wrong, 0);
}

/* Every source of a row is an entry of docs/references.md. */
static void sources_have_references(void **state) {
    (void)state;
    char *text = read_text(HK_SOURCE_DIR "/docs/references.md");
    assert_non_null(text);
    const hk_activation_info *row;
    wrong = 0;
    for (int i = 0; (row = hk_activation_row(NULL, i)) != NULL; i++)
        for (const char *at = row->source; at && *at;) {
            char entry[128];
            const int n = (int)strcspn(at, ";");
            snprintf(entry, sizeof entry, "**%.*s.**", n, at);
            if (!strstr(text, entry)) {
                print_message("docs/references.md: no %s of %s\n", entry, row->name);
                wrong++;
            }
            at += n + strspn(at + n, "; ");
        }
    free(text);
    assert_int_equal(wrong, 0);
}

/* --- what they state -------------------------------------------------------------------------- */

static hk_context *checking;
static int stated;
static statement one;

static void check_statement(const char *path, int line, const char *text) {
    stated++;
    if (strlen(text) >= sizeof one.text) fail_msg("%s:%d: too long", path, line);
    if (statement_holds(&one, checking, text)) return;
    print_message("%s:%d: %s\n    %s\n", path, line, text, one.why);
    wrong++;
}

/* A statement may go on in a line that begins with blanks. */
static void statements_hold(const char *path, const char *name, char *text) {
    (void)name;
    bool inside = false;
    int line = 0;
    for (char *at = text; *at;) {
        char *end = at + strcspn(at, "\n");
        int lines = 1;
        for (; inside && end[0] && end[1] == ' '; end += strcspn(end, "\n"), lines++) *end = ' ';
        const bool last = *end == 0;
        *end = 0;
        if (strncmp(at, "```", 3) == 0)
            inside = !inside && strcmp(at, "```check") == 0;
        else if (inside && *at && *at != '#')
            check_statement(path, line + 1, at);
        line += lines;
        at = end + !last;
    }
}

static void every_statement_holds(void **state) {
    checking = *state;
    wrong = stated = 0;
    each_file(statements_hold);
    print_message("%d statements, %d wrong\n", stated, wrong);
    assert_int_equal(wrong, 0);
    assert_true(stated > 0);
}

/* The checker itself: what is true passes, and what is false or malformed is found, with the reason. */
static void false_statements_are_found(void **state) {
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"tanh(x) = 2*sigmoid(2*x) - 1", NULL},
        {"tanh(x) = 2*sigmoid(2*x) - 1.00000001", "differs"},
        {"sigmoid'(x) = sigmoid(x)*(1 - sigmoid(x))", NULL},
        {"sigmoid'(x) = sigmoid(x)*(1 + sigmoid(x))", "differs"},
        {"D(silu(x)) = silu'(x)", NULL},
        {"D(silu(x)) = silu'(x)*(1 + 1e-7)", "differs"},
        {"D(relu(x)) = x > 0 ? 1 : 0", NULL},
        {"D(relu(x)) = x > 0.05 ? 1 : 0", "differs"},
        {"swish'beta(x; beta=b) = D(swish(x; beta=b), b) with b = 1.5", NULL},
        {"swish'beta(x; beta=b) = D(swish(x; beta=b), b)", "not 'b'"},
        {"swish'beta(x; beta=b) = D(swish(x; beta=b)) with b = 1.5", "differs"},
        {"swish'gamma(x) = 0", "no such parameter"},
        {"step'(x; ste=clip) = abs(x) < 1 ? 1 : 0", NULL},
        {"step'(x; ste=identity) = abs(x) < 1 ? 1 : 0", "differs"},
        {"tanh(x) < 1", NULL},
        {"tanh(x) < 0.9", "does not hold"},
        {"-1 < tanh(x) < 1 for x > -3", NULL},
        {"tanh(x) > 0 for x > 0", NULL},
        {"tanh(x) > 0 for x > -0.3", "does not hold"},
        {"tanh(x) > 0 for x > 7.9", "too few points"},
        {"gelu'(x) = 1 with x = inf", NULL},
        {"b*x = 3*x within 1e-6 with b = 3.000001 for x > 0", NULL},
        {"b*x = 3*x with b = 3.000001 within 1e-7", "differs"},
        {"x = x with b = 1 2", "cannot be read"},
        {"x = x within 1e-6 1", "cannot be read"},
        {"max gelu'(x) at sqrt(2) = 1.1289041", NULL},
        {"max gelu'(x) at sqrt(2) = 1.12891", "the extreme differs"},
        {"max gelu'(x) at 1.41 = 1.1289041", "is beyond the place"},
        {"min gelu'(x) at sqrt(2) = 1.1289041", "is beyond the place"},
        {"min silu(x) = -0.27846454 within 1e-5", NULL},
        {"min silu(x) = -0.28", "the extreme differs"},
        {"max gelu'(x) at sqrt(2)", "need '= value'"},
        {"E(selu(x)) = 0", NULL},
        {"E(selu(x)^2) = 1", NULL},
        {"E(selu(x)^2) = 1.000001", "differs"},
        {"E(relu(x)) = 1/sqrt(2*pi)", NULL},
        {"f32(1 + 1e-8) = 1", NULL},
        {"f32(1 + 1e-7) = 1", "differs"},
        {"f32(sigmoid'(20)) = 0", NULL},
        {"f32(sigmoid'(-20)) = sigmoid'(-20) within 1e-6", NULL},
        {"f32(sigmoid'(20)) = sigmoid'(20) within 1e-6", "differs"},
        {"glu[0](x, 2) = x*sigmoid(2)", NULL},
        {"glu'[0,1](x, 2) = x*sigmoid(2)*sigmoid(-2)", NULL},
        {"glu'[0,0](x, 2) = x*sigmoid(2)*sigmoid(-2)", "differs"},
        {"glu[1](x, 2) = 0", "no such output"},
        {"glu(x, 2) = 0", "the output's number"},
        {"tanh(x, 2) = 0", "one number"},
        {"softmax[0](x, 0, 1) = exp(x)/(exp(x) + 1 + exp(1))", NULL},
        {"mix[0](x; relu+tanh) = 0", "differs"},
        {"log(x) = log(x)", "differs"}, /* NaN */
        {"log(x) < 0", "does not hold"},
        {"2 + 3*4^2/2 - -1 = 27", NULL},
        {"-2^2 = -4", NULL},
        {"2^3^2 = 512", NULL},
        {"max(1, 2) + min(1, 2) = 3", NULL},
        {"rleu(x) = 0", "unknown activation 'rleu'"},
        {"relu:at_zero(x) = 0", "no such name"},
        {"relu(x; slope=1) = 0", "no setting 'slope=1'"},
        {"tanh(x = 0", "cannot be read"},
        {"tanh(x)) = 0", "the expression ends"},
        {"= 0", "cannot be read"},
        {"", "cannot be read"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const bool holds = statement_holds(&one, *state, cases[i].line);
        if (holds == !cases[i].why && (holds || strstr(one.why, cases[i].why))) continue;
        fail_msg("'%s' %s: %s", cases[i].line, holds ? "passed" : "failed", one.why);
    }
}

/* --- the program ------------------------------------------------------------------------------- */

static void write_page(const char *name, const char *part) {
    char *text = read_text(path_of(name));
    char *fresh = text ? with_part(text, part) : empty_page(name, part);
    FILE *file = fresh ? fopen(path_of(name), "w") : NULL;
    if (!file || fputs(fresh, file) < 0) {
        fprintf(stderr, "%s: cannot be written, or has no generated part\n", path_of(name));
        wrong++;
    }
    if (file) fclose(file);
    free(text);
    free(fresh);
}

static int make_context(void **state) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.dtype = HK_F64, .threads = 1});
    *state = ctx;
    return !ctx || hk_error(ctx) != HK_OK;
}

int main(int argc, char **argv) {
    void *ctx = NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(false_statements_are_found, make_context, teardown),
        cmocka_unit_test_setup_teardown(every_page_is_fresh, make_context, teardown),
        cmocka_unit_test_setup_teardown(every_page_has_its_parts, make_context, teardown),
        cmocka_unit_test(every_page_has_a_row),
        cmocka_unit_test(every_link_leads_somewhere),
        cmocka_unit_test(sources_have_references),
        cmocka_unit_test_setup_teardown(every_statement_holds, make_context, teardown),
    };
    if (argc < 2) return cmocka_run_group_tests(tests, NULL, NULL);
    if (make_context(&ctx)) return 1;
    if (strcmp(argv[1], "--write") == 0) each_page(ctx, write_page);
    for (int i = 2; i < argc && strcmp(argv[1], "--check") == 0; i++) {
        const bool holds = statement_holds(&one, ctx, argv[i]);
        printf("%s: %s%s%s\n", holds ? "true" : "FALSE", argv[i], holds ? "" : "\n    ",
               holds ? "" : one.why);
        wrong += !holds;
    }
    hk_context_destroy(ctx);
    return wrong > 0;
}
