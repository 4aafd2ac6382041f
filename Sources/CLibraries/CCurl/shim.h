// libcurl sets and reads its options through variadic functions, which Swift does not import, and
// hides them behind macros that check types in C. One wrapper per type of argument takes their
// place; the name in parentheses skips the macro.
#pragma once
#include <curl/curl.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "Waystation needs libcurl 7.87 or later (CURLOPT_QUICK_EXIT)."
#endif

/// Starts libcurl and its TLS library; must run once before any other call.
static inline CURLcode waystation_curl_start(void) {
    return curl_global_init(CURL_GLOBAL_DEFAULT);
}

static inline CURLcode waystation_curl_set_long(CURL *easy, CURLoption option, long value) {
    return (curl_easy_setopt)(easy, option, value);
}

static inline CURLcode waystation_curl_set_offset(
    CURL *easy, CURLoption option, curl_off_t value) {
    return (curl_easy_setopt)(easy, option, value);
}

/// libcurl copies the string; NULL restores the option's meaning of "none".
static inline CURLcode waystation_curl_set_string(
    CURL *easy, CURLoption option, const char *value) {
    return (curl_easy_setopt)(easy, option, value);
}

/// libcurl keeps the pointer: a body, a callback's context, a buffer or a list must outlive its use.
static inline CURLcode waystation_curl_set_pointer(
    CURL *easy, CURLoption option, const void *value) {
    return (curl_easy_setopt)(easy, option, value);
}

/// For CURLOPT_WRITEFUNCTION and CURLOPT_HEADERFUNCTION, whose types are the same.
static inline CURLcode waystation_curl_set_receiver(
    CURL *easy, CURLoption option, curl_write_callback receiver) {
    return (curl_easy_setopt)(easy, option, receiver);
}

static inline CURLcode waystation_curl_set_tracer(CURL *easy, curl_debug_callback tracer) {
    return (curl_easy_setopt)(easy, CURLOPT_DEBUGFUNCTION, tracer);
}

static inline CURLcode waystation_curl_get_long(CURL *easy, CURLINFO info, long *value) {
    return (curl_easy_getinfo)(easy, info, value);
}

static inline CURLcode waystation_curl_get_offset(CURL *easy, CURLINFO info, curl_off_t *value) {
    return (curl_easy_getinfo)(easy, info, value);
}

/// The string belongs to the handle and lives until its next transfer.
static inline CURLcode waystation_curl_get_string(CURL *easy, CURLINFO info, const char **value) {
    return (curl_easy_getinfo)(easy, info, value);
}

static inline CURLMcode waystation_curl_multi_set_long(
    CURLM *multi, CURLMoption option, long value) {
    return (curl_multi_setopt)(multi, option, value);
}
