#include "url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

/* RFC 3986 characters of path and query; everything else has to be percent-encoded. */
static bool is_url_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(c && strchr("-._~:/?[]@!$&'()*+,;=%", c));
}

static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Letters, digits and inner hyphens (RFC 1123), labels of 1 to 63, not a number at the end. */
static bool is_host_name(const char *host)
{
	const char *label = host, *last = host;

	while (*label) {
		size_t len = strcspn(label, ".");

		if (len < 1 || len > 63 || label[0] == '-' || label[len - 1] == '-')
			return false;
		for (size_t i = 0; i < len; i++) {
			if (!is_alphanumeric(label[i]) && label[i] != '-')
				return false;
		}
		last = label;
		label += len;
		if (*label == '.' && !*++label)
			return false;
	}
	if (strspn(last, "0123456789") == strlen(last))
		return false;
	return strncmp(last, "0x", 2) != 0;
}

static int parse_host(char *host, struct url *url, const char **expected)
{
	size_t len = strlen(host);

	for (char *c = host; *c; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	}
	if (host[0] == '[') {
		*expected = "an IPv6 address without zone between the brackets";
		if (len < 3 || host[len - 1] != ']')
			return -EINVAL;
		host[len - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, url->literal.bytes) != 1)
			return -EINVAL;
		url->literal.family = 6;
		memcpy(url->host, host + 1, len - 1);
		return 0;
	}
	if (len > 1 && host[len - 1] == '.')
		host[--len] = '\0';
	*expected =
		"a host name of letters, digits, hyphens and dots (international names in their xn-- form), or "
		"an IP address in its usual form";
	if (len < 1 || len > 253)
		return -EINVAL;
	memcpy(url->host, host, len + 1);
	if (inet_pton(AF_INET, host, url->literal.bytes) == 1) {
		url->literal.family = 4;
		return 0;
	}
	return is_host_name(host) ? 0 : -EINVAL;
}

static int parse_port(const char *digits, size_t len, uint16_t *port)
{
	unsigned value = 0;

	if (len < 1 || len > 5)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(digits[i] - '0');
	}
	if (value < 1 || value > 65535)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

int url_parse(const char *text, struct url *url, const char **expected)
{
	size_t len = strlen(text), authority_len, host_len;
	char host[URL_HOST_SIZE + 2];
	const char *authority;

	memset(url, 0, sizeof(*url));
	*expected = "a URL of at most 2048 visible ASCII characters, others percent-encoded";
	if (len > URL_MAX_LEN)
		return -EINVAL;
	*expected = "a URL without fragment";
	if (strchr(text, '#'))
		return -EINVAL;
	*expected =
		"a URL of visible ASCII characters; others, and \\ \" < > ^ ` { | }, percent-encoded";
	for (const char *c = text; *c; c++) {
		if (!is_url_character(*c))
			return -EINVAL;
	}
	*expected = "https://HOST/... or http://HOST/...";
	if (strncasecmp(text, "https://", 8) == 0)
		url->https = true;
	else if (strncasecmp(text, "http://", 7) != 0)
		return -EINVAL;
	authority = text + (url->https ? 8 : 7);
	authority_len = strcspn(authority, "/?");
	*expected = "no user name or password in the URL (use headers)";
	if (memchr(authority, '@', authority_len))
		return -EINVAL;

	url->port = url->https ? 443 : 80;
	host_len = authority_len;
	for (size_t i = authority_len; i-- > 0 && authority[i] != ']';) {
		if (authority[i] == ':')
			host_len = i;
	}
	*expected = "a port from 1 to 65535 behind the colon";
	if (host_len < authority_len &&
		parse_port(authority + host_len + 1, authority_len - host_len - 1, &url->port) < 0)
		return -EINVAL;
	*expected = "a host of at most 253 characters";
	if (host_len >= sizeof(host))
		return -EINVAL;
	memcpy(host, authority, host_len);
	host[host_len] = '\0';
	return parse_host(host, url, expected);
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

bool url_host_is_internal(const struct url *url)
{
	static const char *const endings[] = {
		".localhost", ".local", ".internal", ".home.arpa", ".onion"};

	if (url->literal.family)
		return false;
	if (!strchr(url->host, '.'))
		return true;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (ends_with(url->host, endings[i]) || strcmp(url->host, endings[i] + 1) == 0)
			return true;
	}
	return false;
}
