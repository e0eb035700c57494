/*
 * URLs against libcurl, which will make the request: what we took means the same host and the same
 * port there.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "../../daemon/url.h"
#include "fuzz.h"

static void check_host(const struct url *url)
{
	size_t len = strlen(url->host);

	promise(len > 0 && len < URL_HOST_SIZE);
	for (size_t i = 0; i < len; i++)
		promise(strchr("abcdefghijklmnopqrstuvwxyz0123456789-.:", url->host[i]));
	promise(url->host[len - 1] != '.');
	if (url->literal.family == 0)
		promise(!strchr(url->host, ':'));
	if (url->literal.family)
		promise(!url_host_is_internal(url));
}

static char *curl_part(CURLU *handle, CURLUPart part, unsigned flags)
{
	char *text = NULL;

	promise(curl_url_get(handle, part, &text, flags) == CURLUE_OK);
	return text;
}

/* Without brackets and trailing dot. */
static bool is_same_host(const struct url *url, const char *host)
{
	size_t len = strlen(host);

	if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
		struct peer peer = {0};
		char address[INET6_ADDRSTRLEN] = "";

		memcpy(address, host + 1, len - 2 < sizeof(address) ? len - 2 : 0);
		return url->literal.family == 6 && inet_pton(AF_INET6, address, peer.bytes) == 1 &&
			memcmp(peer.bytes, url->literal.bytes, sizeof(peer.bytes)) == 0;
	}
	if (len > 1 && host[len - 1] == '.')
		len--;
	return len == strlen(url->host) && strncasecmp(host, url->host, len) == 0;
}

static void check_against_curl(const char *text, const struct url *url)
{
	CURLU *handle = curl_url();
	char *host, *port, *scheme;

	promise(curl_url_set(handle, CURLUPART_URL, text, 0) == CURLUE_OK);
	scheme = curl_part(handle, CURLUPART_SCHEME, 0);
	host = curl_part(handle, CURLUPART_HOST, 0);
	port = curl_part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	promise(strcasecmp(scheme, url->https ? "https" : "http") == 0);
	promise(is_same_host(url, host));
	promise(strtoul(port, NULL, 10) == url->port);
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(handle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	const char *expected = NULL;
	struct url url;

	memcpy(text, data, size);
	text[size] = '\0';
	if (url_parse(text, &url, &expected) == 0) {
		check_host(&url);
		check_against_curl(text, &url);
	} else {
		promise(expected);
	}
	free(text);
	return 0;
}
