package clustertest

import (
	"context"
	"crypto/x509"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Access is a way into a cluster: as somebody, by some road.
type Access struct {
	Kubeconfig string // path of a file with one context, which is the current one
	Context    string // its name

	config *rest.Config
	bin    string
	cache  string // kubectl's, so that it writes nothing into the home directory
}

// newAccess writes a kubeconfig beside the control plane's other files.
func (c *ControlPlane) newAccess(file, contextName, server, token string) (*Access, error) {
	return c.accessAs(file, contextName, server, &clientcmdapi.AuthInfo{Token: token})
}

func (c *ControlPlane) accessAs(file, contextName, server string, who *clientcmdapi.AuthInfo) (*Access, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[contextName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: c.ca}
	config.AuthInfos[contextName] = who
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName}
	config.CurrentContext = contextName
	path := filepath.Join(c.dir, file)
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return nil, fmt.Errorf("write a kubeconfig: %w", err)
	}
	restConfig, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig back: %w", err)
	}
	restConfig.QPS = -1 // whoever drives a test is not to be slowed down by client-go
	return &Access{
		Kubeconfig: path, Context: contextName,
		config: restConfig, bin: c.bin, cache: filepath.Join(c.dir, "kubectl-cache"),
	}, nil
}

// RESTConfig is a fresh copy, without client-side rate limits.
func (a *Access) RESTConfig() *rest.Config { return rest.CopyConfig(a.config) }

// Kubectl prepares a run of kubectl against the cluster. Anything given in
// args, such as another --kubeconfig, wins.
func (a *Access) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	all := append([]string{"kubectl", "--kubeconfig", a.Kubeconfig, "--cache-dir", a.cache}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(a.bin, "controlplane"), all...)
	cmd.Env = append(cmd.Environ(), "KUBERC=off")
	cmd.WaitDelay = 10 * time.Second // for what kubectl itself started, such as diff
	return cmd
}

// Certificate is an administrator's access by a client certificate that expires
// after so long. The name tells the kubeconfig files apart.
func (c *ControlPlane) Certificate(name string, valid time.Duration) (*Access, error) {
	template := certificate(time.Now().UnixNano(), "test-"+name)
	template.Subject.Organization = []string{"system:masters"}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.NotAfter = time.Now().Add(valid)
	cert, key, err := c.sign(template)
	if err != nil {
		return nil, err
	}
	return c.accessAs("kubeconfig-certificate-"+name, c.Context, c.url(), &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
}

// Login is access with another bearer token: a service account's, or one that
// the cluster does not accept. The name tells the kubeconfig files apart.
func (c *ControlPlane) Login(name, token string) (*Access, error) {
	return c.newAccess("kubeconfig-login-"+name, c.Context, c.url(), token)
}
