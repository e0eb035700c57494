"""A certificate authority of the tests' own."""

import os
import ssl
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """Issues certificates that only it vouches for. Files go into the directory, under the authority's name."""

    def __init__(self, directory, name="ca"):
        self.directory, self.name = directory, name
        self.n = 0
        self.key, self.certificate = self.path("key"), self.path("pem")
        self.openssl("req", "-x509", *KEY, "-keyout", self.key, "-out", self.certificate, "-days", "30",
                     "-subj", f"/CN=Test authority {name}")

    def path(self, end):
        return os.path.join(self.directory, f"{self.name}.{end}")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def sign(self, names, days=30, selfsigned=False):
        """A certificate for these names; returns the paths of it and of its key."""
        self.n += 1
        key, request, certificate, extension = (self.path(f"{self.n}.{end}") for end in ("key", "csr", "pem", "ext"))
        with open(extension, "w") as file:
            file.write("subjectAltName=" + ",".join(names))
        self.openssl("req", *KEY, "-keyout", key, "-out", request, "-subj", "/CN=test")
        signing = ["-signkey", key] if selfsigned else ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"]
        self.openssl("x509", "-req", "-in", request, *signing, "-out", certificate, "-extfile", extension,
                     "-days", str(days))
        return certificate, key

    def issue(self, names, days=30, selfsigned=False):
        """A server context with a certificate for these names. With 0 days it is good for a second."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign(names, days, selfsigned))
        return context
