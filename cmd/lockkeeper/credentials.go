package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
)

// readServer reads the operator's file; relative paths in it are relative to
// its directory.
func readServer(path string) (*config.Server, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the server file: %w", err)
	}
	s, err := config.ParseServer(path, data)
	if err != nil {
		return nil, err
	}
	s.Resolve(filepath.Dir(path))
	return s, nil
}

// credentials are the contents of the files with secrets that the operator's
// file names.
type credentials struct {
	authorities
	webhook []secret.Secret
	// key is a GitHub App's, in PEM; token is any other account's.
	key, token []byte
	store      string // its address, with the password
	clusters   kubeconfigs
}

// kubeconfigs are digests of files by the clusters that are reached with them.
type kubeconfigs map[string][sha256.Size]byte

// readCredentials reads them all, and has them redacted from everything that is
// said from now on.
func readCredentials(s *config.Server, redact *secret.Redactor) (credentials, error) {
	c := credentials{clusters: kubeconfigs{}}
	var err error
	if c.authorities, err = readAuthorities(s.Dealings().CAFile); err != nil {
		return c, err
	}
	for _, path := range s.Dealings().WebhookSecretFiles {
		b, err := readSecret("webhook secret", path, redact)
		if err != nil {
			return c, err
		}
		c.webhook = append(c.webhook, secret.Secret(b))
	}
	if err := c.account(s.Forges, redact); err != nil {
		return c, err
	}
	if c.store, err = storeAddress(s, redact); err != nil {
		return c, err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		if path := s.Clusters[name].Kubeconfig; path != "" {
			if err := c.kubeconfig(name, path, redact); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// account reads what the forge knows us by.
func (c *credentials) account(at config.Forges, redact *secret.Redactor) (err error) {
	switch g, h := at.GitHub, at.Host(); {
	case g != nil && g.App != nil:
		c.key, err = readSecret("private key of the GitHub App", g.App.PrivateKeyFile, redact)
	case g != nil:
		c.token, err = readSecret("token", g.TokenFile, redact)
	case h != nil:
		c.token, err = readSecret("token", h.TokenFile, redact)
	}
	return err
}

func readSecret(what, path string, redact *secret.Redactor) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the %s: %w", what, err)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil, fmt.Errorf("the %s: %s is empty", what, path)
	}
	redact.Register(secret.Secret(b))
	return b, nil
}

// storeAddress is where the store is, with the password that opens it.
func storeAddress(s *config.Server, redact *secret.Redactor) (string, error) {
	redact.Register(secret.Secret(s.StorePassword()))
	if s.StorePasswordFile == "" {
		return s.Store, nil
	}
	password, err := readSecret("password of the store", s.StorePasswordFile, redact)
	if err != nil {
		return "", err
	}
	return s.WithPassword(string(password))
}

// kubeconfig has the secrets in a kubeconfig redacted, and keeps its digest.
// What is wrong with the file is for whoever connects to say.
func (c credentials) kubeconfig(name, path string, redact *secret.Redactor) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the kubeconfig of cluster %s: %w", name, err)
	}
	c.clusters[name] = sha256.Sum256(b)
	var file struct {
		Users []struct {
			User struct {
				Token     string `yaml:"token"`
				TokenFile string `yaml:"tokenFile"`
				Password  string `yaml:"password"`
				KeyData   string `yaml:"client-key-data"`
				Key       string `yaml:"client-key"`
			} `yaml:"user"`
		} `yaml:"users"`
	}
	if yaml.Unmarshal(b, &file) != nil {
		return nil
	}
	for _, u := range file.Users {
		redact.Register(secret.Secret(u.User.Token), secret.Secret(u.User.Password), secret.Secret(u.User.KeyData))
		if pem, err := base64.StdEncoding.DecodeString(u.User.KeyData); err == nil {
			redact.Register(secret.Secret(pem))
		}
		for _, other := range []string{u.User.TokenFile, u.User.Key} {
			if other != "" && !filepath.IsAbs(other) {
				other = filepath.Join(filepath.Dir(path), other)
			}
			if text, err := os.ReadFile(other); err == nil {
				redact.Register(secret.Secret(bytes.TrimSpace(text)))
			}
		}
	}
	return nil
}
