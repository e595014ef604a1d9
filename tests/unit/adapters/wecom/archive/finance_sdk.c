/* The C interface of the archive's library over canned data in a folder: a stand-in for tests, written after the public header.
 *
 * $ARCHIVE_FAKE holds: chatdata.json (the answer of GetChatData for seq 0; for any other seq {"errcode":0,"chatdata":[]}),
 * code.<function> (a number: what that function returns instead), wait.<function> (it waits until that is gone),
 * media.<sdkfileid> (a file). DecryptData is XOR of the hexadecimal text with the key text, so that a wrong key gives nonsense.
 * What should be there and is not gives a code, never a crash. Every call appends a line to `log`.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 524288L

typedef struct { char *buf; int len; } Slice_t;
typedef struct { char *outindexbuf; int out_len; char *data; int data_len; int is_finish; } MediaData_t;
typedef struct { char corp[64]; } Sdk_t;

static void path(char *out, size_t size, const char *name) {
    snprintf(out, size, "%s/%s", getenv("ARCHIVE_FAKE"), name);
}

static void note(const char *format, ...) {
    char name[1024], line[512];
    va_list rest;
    FILE *file;
    if (!getenv("ARCHIVE_FAKE")) return;
    path(name, sizeof name, "log");
    va_start(rest, format);
    vsnprintf(line, sizeof line, format, rest);
    va_end(rest);
    if ((file = fopen(name, "a"))) { fprintf(file, "%s\n", line); fclose(file); }
}

static char *whole(const char *name, long *length) {
    char where[1024];
    char *data;
    FILE *file;
    if (!getenv("ARCHIVE_FAKE")) return NULL;
    path(where, sizeof where, name);
    if (!(file = fopen(where, "rb"))) return NULL;
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    data = malloc(*length + 1);
    *length = (long)fread(data, 1, *length, file);
    data[*length] = 0;
    fclose(file);
    return data;
}

static int code(const char *function) {
    char name[128];
    long length;
    char *text;
    int found, rounds;
    snprintf(name, sizeof name, "wait.%s", function);
    for (rounds = 0; rounds < 4000 && (text = whole(name, &length)); rounds++) { free(text); usleep(5000); }
    snprintf(name, sizeof name, "code.%s", function);
    if (!(text = whole(name, &length))) return 0;
    found = atoi(text);
    free(text);
    return found;
}

Sdk_t *NewSdk(void) { note("NewSdk"); return calloc(1, sizeof(Sdk_t)); }
void DestroySdk(Sdk_t *sdk) { note("DestroySdk %s", sdk->corp); free(sdk); }
int Init(Sdk_t *sdk, const char *corpid, const char *secret) {
    note("Init %s %s", corpid, secret);
    snprintf(sdk->corp, sizeof sdk->corp, "%s", corpid);
    return code("Init");
}

Slice_t *NewSlice(void) { return calloc(1, sizeof(Slice_t)); }
void FreeSlice(Slice_t *slice) { free(slice->buf); free(slice); }
char *GetContentFromSlice(Slice_t *slice) { return slice->buf; }
int GetSliceLen(Slice_t *slice) { return slice->len; }

int GetChatData(Sdk_t *sdk, unsigned long long seq, unsigned int limit, const char *proxy, const char *passwd, int timeout,
                Slice_t *out) {
    long length = 0;
    int found = code("GetChatData");
    note("GetChatData %s %llu %u [%s] [%s] %d", sdk->corp, seq, limit, proxy, passwd, timeout);
    if (found) return found;
    out->buf = seq ? strdup("{\"errcode\":0,\"errmsg\":\"ok\",\"chatdata\":[]}") : whole("chatdata.json", &length);
    if (!out->buf) return 10002;
    out->len = (int)strlen(out->buf);
    return 0;
}

int DecryptData(const char *key, const char *msg, Slice_t *out) {
    size_t at, size = strlen(msg) / 2, most = strlen(key);
    int found = code("DecryptData");
    note("DecryptData %zu", most);
    if (found) return found;
    if (!most) return 10006;
    out->buf = malloc(size + 1);
    for (at = 0; at < size; at++) {
        unsigned int octet;
        if (sscanf(msg + 2 * at, "%2x", &octet) != 1) return 10006;
        out->buf[at] = (char)(octet ^ (unsigned char)key[at % most]);
    }
    out->len = (int)size;
    return 0;
}

MediaData_t *NewMediaData(void) { return calloc(1, sizeof(MediaData_t)); }
void FreeMediaData(MediaData_t *media) { free(media->outindexbuf); free(media->data); free(media); }
char *GetOutIndexBuf(MediaData_t *media) { return media->outindexbuf; }
int GetIndexLen(MediaData_t *media) { return media->out_len; }
char *GetData(MediaData_t *media) { return media->data; }
int GetDataLen(MediaData_t *media) { return media->data_len; }
int IsMediaDataFinish(MediaData_t *media) { return media->is_finish; }

int GetMediaData(Sdk_t *sdk, const char *indexbuf, const char *sdkfileid, const char *proxy, const char *passwd, int timeout,
                 MediaData_t *out) {
    char name[256];
    long length, start = 0, end;
    char *data;
    int found = code("GetMediaData");
    note("GetMediaData %s [%s] %s [%s] [%s] %d", sdk->corp, indexbuf, sdkfileid, proxy, passwd, timeout);
    if (found) return found;
    snprintf(name, sizeof name, "media.%s", sdkfileid);
    if (!(data = whole(name, &length))) return 10005;
    if (*indexbuf && sscanf(indexbuf, "Range:bytes=%ld-", &start) != 1) { free(data); return 10000; }
    end = start + PIECE < length ? start + PIECE : length;
    out->data_len = (int)(end - start);
    out->data = malloc(out->data_len + 1);
    memcpy(out->data, data + start, out->data_len);
    free(data);
    out->is_finish = end >= length;
    out->outindexbuf = calloc(1, 64);
    if (!out->is_finish) snprintf(out->outindexbuf, 64, "Range:bytes=%ld-%ld", end, end + PIECE - 1);
    out->out_len = (int)strlen(out->outindexbuf);
    return 0;
}
