package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeKeys makes what an API server needs to be trusted and to sign: ca.crt and
// ca.key, serving.crt and serving.key for loopback, and service-accounts.key.
func writeKeys(dir string) error {
	caKey, err := newKey()
	if err != nil {
		return err
	}
	ca := certificate(1, "lockkeeper test CA")
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the test CA: %w", err)
	}
	servingKey, err := newKey()
	if err != nil {
		return err
	}
	serving := servingCertificate()
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, ca, servingKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the API server's certificate: %w", err)
	}
	accountsKey, err := newKey()
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, "ca.crt"), "CERTIFICATE", caDER),
		writeKey(filepath.Join(dir, "ca.key"), caKey),
		writePEM(filepath.Join(dir, "serving.crt"), "CERTIFICATE", servingDER),
		writeKey(filepath.Join(dir, "serving.key"), servingKey),
		writeKey(filepath.Join(dir, "service-accounts.key"), accountsKey),
	)
}

func servingCertificate() *x509.Certificate {
	serving := certificate(2, "kube-apiserver")
	serving.KeyUsage, serving.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 96, 0, 1)}
	serving.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	return serving
}

// sign makes a certificate of the test CA, in PEM with its key.
func (c *ControlPlane) sign(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	ca, err := tls.LoadX509KeyPair(c.key("ca.crt"), c.key("ca.key"))
	if err != nil {
		return nil, nil, fmt.Errorf("read the test CA: %w", err)
	}
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func certificate(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		BasicConstraintsValid: true,
	}
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
