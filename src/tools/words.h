/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Values of options, of daxfuse(8)'s command line. WORD is the whole option, for the sentence that says what is
 * wrong. 0, or -EINVAL with that sentence, malloc'ed, in *ret_message. No state.
 */
#ifndef DAXFUSE_TOOLS_WORDS_H
#define DAXFUSE_TOOLS_WORDS_H

/* A decimal number in LEAST..MOST. */
int words_number(const char *word, const char *value, unsigned least, unsigned most,
                 unsigned *ret_number, char **ret_message);
/* One of a few words: its place in the list, which ends with NULL. */
int words_choice(const char *word, const char *value, const char *const *choices,
                 unsigned *ret_choice, char **ret_message);

#endif
