// libcurl is loaded when the first request needs it: it brings thirty libraries, whose loading costs
// more than all that a command without a request does. So nothing here links against it, and each
// function that is used has a wrapper; those that set and read options, which are variadic (Swift
// does not import those) and hidden behind macros, have one per type of argument.
#pragma once
#include <curl/curl.h>
#include <dlfcn.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "Waystation needs libcurl 7.87 or later (CURLOPT_QUICK_EXIT)."
#endif

/// The loaded library; NULL, with the reason in dlerror(3), where there is none. Must be called once
/// before any other function here, and not from two threads at a time before it has returned.
static inline void *waystation_curl_library(void) {
    static void *library;
    if (!library) library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    return library;
}

// A look-up takes some 200 ns, and a request makes a few dozen.
#define WAYSTATION_CURL(function) \
    ((__typeof__(function) *)dlsym(waystation_curl_library(), #function))

/// Starts libcurl and its TLS library; must run once before any other call.
static inline CURLcode waystation_curl_start(void) {
    return WAYSTATION_CURL(curl_global_init)(CURL_GLOBAL_DEFAULT);
}

static inline CURL *waystation_curl_easy_init(void) {
    return WAYSTATION_CURL(curl_easy_init)();
}

static inline void waystation_curl_easy_cleanup(CURL *easy) {
    WAYSTATION_CURL(curl_easy_cleanup)(easy);
}

static inline const char *waystation_curl_easy_strerror(CURLcode code) {
    return WAYSTATION_CURL(curl_easy_strerror)(code);
}

/// libcurl copies the string.
static inline struct curl_slist *waystation_curl_slist_append(
    struct curl_slist *list, const char *string) {
    return WAYSTATION_CURL(curl_slist_append)(list, string);
}

static inline void waystation_curl_slist_free_all(struct curl_slist *list) {
    WAYSTATION_CURL(curl_slist_free_all)(list);
}

static inline CURLM *waystation_curl_multi_init(void) {
    return WAYSTATION_CURL(curl_multi_init)();
}

static inline CURLMcode waystation_curl_multi_cleanup(CURLM *multi) {
    return WAYSTATION_CURL(curl_multi_cleanup)(multi);
}

static inline CURLMcode waystation_curl_multi_add_handle(CURLM *multi, CURL *easy) {
    return WAYSTATION_CURL(curl_multi_add_handle)(multi, easy);
}

static inline CURLMcode waystation_curl_multi_remove_handle(CURLM *multi, CURL *easy) {
    return WAYSTATION_CURL(curl_multi_remove_handle)(multi, easy);
}

static inline CURLMcode waystation_curl_multi_perform(CURLM *multi, int *running) {
    return WAYSTATION_CURL(curl_multi_perform)(multi, running);
}

static inline CURLMcode waystation_curl_multi_poll(CURLM *multi, int milliseconds) {
    return WAYSTATION_CURL(curl_multi_poll)(multi, 0, 0, milliseconds, 0);
}

static inline CURLMsg *waystation_curl_multi_info_read(CURLM *multi, int *left) {
    return WAYSTATION_CURL(curl_multi_info_read)(multi, left);
}

static inline const char *waystation_curl_multi_strerror(CURLMcode code) {
    return WAYSTATION_CURL(curl_multi_strerror)(code);
}

typedef CURLMcode (*_Nonnull waystation_curl_wakeup)(CURLM *_Nonnull multi);

/// The function itself: a signal handler may call it, but may not look it up.
static inline waystation_curl_wakeup waystation_curl_find_wakeup(void) {
    return (waystation_curl_wakeup)WAYSTATION_CURL(curl_multi_wakeup);
}

static inline CURLcode waystation_curl_set_long(CURL *easy, CURLoption option, long value) {
    return WAYSTATION_CURL(curl_easy_setopt)(easy, option, value);
}

static inline CURLcode waystation_curl_set_offset(
    CURL *easy, CURLoption option, curl_off_t value) {
    return WAYSTATION_CURL(curl_easy_setopt)(easy, option, value);
}

/// libcurl copies the string; NULL restores the option's meaning of "none".
static inline CURLcode waystation_curl_set_string(
    CURL *easy, CURLoption option, const char *value) {
    return WAYSTATION_CURL(curl_easy_setopt)(easy, option, value);
}

/// libcurl keeps the pointer: a body, a callback's context, a buffer or a list must outlive its use.
static inline CURLcode waystation_curl_set_pointer(
    CURL *easy, CURLoption option, const void *value) {
    return WAYSTATION_CURL(curl_easy_setopt)(easy, option, value);
}

/// For CURLOPT_WRITEFUNCTION and CURLOPT_HEADERFUNCTION, whose types are the same.
static inline CURLcode waystation_curl_set_receiver(
    CURL *easy, CURLoption option, curl_write_callback receiver) {
    return WAYSTATION_CURL(curl_easy_setopt)(easy, option, receiver);
}

static inline CURLcode waystation_curl_set_tracer(CURL *easy, curl_debug_callback tracer) {
    return WAYSTATION_CURL(curl_easy_setopt)(easy, CURLOPT_DEBUGFUNCTION, tracer);
}

static inline CURLcode waystation_curl_get_long(CURL *easy, CURLINFO info, long *value) {
    return WAYSTATION_CURL(curl_easy_getinfo)(easy, info, value);
}

static inline CURLcode waystation_curl_get_offset(CURL *easy, CURLINFO info, curl_off_t *value) {
    return WAYSTATION_CURL(curl_easy_getinfo)(easy, info, value);
}

/// The string belongs to the handle and lives until its next transfer.
static inline CURLcode waystation_curl_get_string(CURL *easy, CURLINFO info, const char **value) {
    return WAYSTATION_CURL(curl_easy_getinfo)(easy, info, value);
}

static inline CURLMcode waystation_curl_multi_set_long(
    CURLM *multi, CURLMoption option, long value) {
    return WAYSTATION_CURL(curl_multi_setopt)(multi, option, value);
}
