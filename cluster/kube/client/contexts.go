package client

import "k8s.io/client-go/tools/clientcmd"

// Contexts are the names of the contexts in a kubeconfig ("" means the usual
// places). A kubeconfig that cannot be read has none; New says why.
func Contexts(kubeconfig string) map[string]bool {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	out := map[string]bool{}
	cfg, err := rules.Load()
	if err != nil {
		return out
	}
	for name := range cfg.Contexts {
		out[name] = true
	}
	return out
}
