package kube

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
)

type (
	m = map[string]any
	l = []any
)

// world is a set of manifests that is edited at random, always validly.
type world struct {
	r          *rand.Rand
	namespaces []string
	group      string // of the custom kind Widget
	objects    []m
	next       int // for names
}

// species is a kind: how one is born, and how it may be edited.
type species struct {
	kind  string
	birth func(w *world) m // without metadata
	edits []func(w *world, o m)
}

func newWorld(seed uint64, group string, namespaces ...string) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), namespaces: namespaces, group: group}
	for _, s := range allSpecies {
		for range 2 {
			w.objects = append(w.objects, w.born(s))
		}
	}
	return w
}

func (w *world) one(of ...any) any { return of[w.r.IntN(len(of))] }

func (w *world) chance(percent int) bool { return w.r.IntN(100) < percent }

func (w *world) word() string {
	return fmt.Sprintf("%s-%d", w.one("amber", "birch", "cedar", "dune"), w.r.IntN(50))
}

func (w *world) born(s species) m {
	o := s.birth(w)
	w.next++
	meta := m{"name": fmt.Sprintf("%s-%d", w.word(), w.next), "namespace": w.namespaces[w.r.IntN(len(w.namespaces))]}
	if w.chance(60) {
		meta["labels"] = m{"app.kubernetes.io/name": w.word(), "tier": w.word()}
	}
	if w.chance(30) {
		meta["annotations"] = m{"example.org/note": "ünïcode ✓ " + w.word()}
	}
	o["metadata"] = meta
	if o["kind"] == "Widget" {
		o["apiVersion"] = w.group + "/v1"
	}
	return o
}

// edited is the world after n more edits, and what they were.
func (w *world) edited(n int) []string {
	var log []string
	objects := slices.Clone(w.objects)
	for range n {
		i := w.r.IntN(len(objects))
		o := (&unstructured.Unstructured{Object: objects[i]}).DeepCopy().Object
		what := "edited"
		switch p := w.r.IntN(100); {
		case p < 6:
			what, o = "born", w.born(allSpecies[w.r.IntN(len(allSpecies))])
			objects = append(objects, o)
		case p < 11 && len(objects) > len(allSpecies):
			what = "removed"
			objects = slices.Delete(objects, i, i+1)
		case p < 15:
			what = "renamed"
			w.next++
			o["metadata"].(m)["name"] = fmt.Sprintf("%s-%d", w.word(), w.next)
			objects[i] = o
		case p < 19:
			what = "moved"
			w.next++
			o["metadata"].(m)["namespace"] = w.namespaces[w.r.IntN(len(w.namespaces))]
			o["metadata"].(m)["name"] = fmt.Sprintf("%s-%d", w.word(), w.next)
			objects[i] = o
		case p < 35:
			what = "relabelled"
			w.editMetadata(o["metadata"].(m))
			objects[i] = o
		default:
			s := speciesOf(o["kind"].(string))
			s.edits[w.r.IntN(len(s.edits))](w, o)
			objects[i] = o
		}
		log = append(log, fmt.Sprintf("%s %s %s", what, o["kind"], o["metadata"].(m)["name"]))
	}
	w.objects = objects
	return log
}

func (w *world) editMetadata(meta m) {
	field := w.one("labels", "annotations").(string)
	in := child(meta, field)
	w.editMap(in, "tier", "app.kubernetes.io/part-of", "example.org/team", "plain")
	if len(in) == 0 {
		delete(meta, field)
	}
}

// editMap sets, adds or removes one of the keys.
func (w *world) editMap(in m, keys ...string) {
	k := keys[w.r.IntN(len(keys))]
	if _, ok := in[k]; ok && w.chance(40) {
		delete(in, k)
		return
	}
	in[k] = w.word()
}

// rendered are the objects as a renderer would hand them over.
func (w *world) rendered() []cluster.Object {
	var out []cluster.Object
	for i, o := range w.objects {
		out = append(out, objectOf((&unstructured.Unstructured{Object: o}).DeepCopy(), fmt.Sprintf("world.yaml:%d", i+1)))
	}
	return out
}

func child(of m, name string) m {
	c, ok := of[name].(m)
	if !ok {
		c = m{}
		of[name] = c
	}
	return c
}

func speciesOf(kind string) species {
	return allSpecies[slices.IndexFunc(allSpecies, func(s species) bool { return s.kind == kind })]
}

// at finds a map below o.
func at(o m, path ...string) m {
	for _, p := range path {
		o = child(o, p)
	}
	return o
}

// toggle sets a field to one of the values, or removes it.
func toggle(values []any, path ...string) func(*world, m) {
	return func(w *world, o m) {
		in, last := at(o, path[:len(path)-1]...), path[len(path)-1]
		if _, ok := in[last]; ok && w.chance(35) {
			delete(in, last)
			return
		}
		in[last] = (&unstructured.Unstructured{Object: m{"v": values[w.r.IntN(len(values))]}}).DeepCopy().Object["v"]
	}
}

// set is toggle for a field that must stay.
func set(values []any, path ...string) func(*world, m) {
	return func(w *world, o m) {
		at(o, path[:len(path)-1]...)[path[len(path)-1]] = values[w.r.IntN(len(values))]
	}
}

// editList adds, removes or moves an item of a list below o; make gives a new
// item for a number.
func editList(least int, make func(w *world, n int) any, path ...string) func(*world, m) {
	return func(w *world, o m) {
		in, last := at(o, path[:len(path)-1]...), path[len(path)-1]
		list, _ := in[last].(l)
		switch p := w.r.IntN(4); {
		case p == 0 && len(list) > least:
			i := w.r.IntN(len(list))
			list = slices.Delete(slices.Clone(list), i, i+1)
		case p == 1 && len(list) > 1:
			list = append(slices.Clone(list[1:]), list[0])
		default:
			w.next++
			item := make(w, w.next)
			list = slices.Insert(slices.Clone(list), w.r.IntN(len(list)+1), item)
		}
		if in[last] = list; len(list) == 0 {
			delete(in, last)
		}
	}
}

// firstContainer applies an edit to the first container of a pod template.
func firstContainer(edit func(*world, m), template ...string) func(*world, m) {
	return func(w *world, o m) {
		edit(w, at(o, append(template, "spec")...)["containers"].(l)[0].(m))
	}
}

func podSpec(w *world) m {
	c := m{"name": "main", "image": "example.org/app:1"}
	if w.chance(50) {
		c["ports"] = l{m{"name": "http", "containerPort": int64(8080)}}
	}
	if w.chance(50) {
		c["env"] = l{m{"name": "COLOUR", "value": "red"}, m{"name": "SIZE", "value": "3"}}
	}
	return m{"containers": l{c}}
}

// podEdits are what may happen to a pod template at a path.
func podEdits(template ...string) []func(*world, m) {
	spec := append(slices.Clone(template), "spec")
	below := func(more ...string) []string { return append(slices.Clone(spec), more...) }
	in := func(edit func(*world, m)) func(*world, m) { return firstContainer(edit, template...) }
	return []func(*world, m){
		in(set(l{"example.org/app:1", "example.org/app:2", "example.org/app@sha256:" + fmt.Sprintf("%064d", 7)}, "image")),
		in(editList(0, func(w *world, n int) any { return m{"name": fmt.Sprintf("VAR_%d", n), "value": w.word()} }, "env")),
		in(editList(0, func(w *world, n int) any {
			return m{"name": fmt.Sprintf("REF_%d", n), "valueFrom": m{"fieldRef": m{"fieldPath": "metadata.name"}}}
		}, "env")),
		in(editList(0, func(_ *world, n int) any { return m{"containerPort": int64(1024 + n)} }, "ports")),
		in(editList(0, func(_ *world, n int) any {
			return m{"name": fmt.Sprintf("p%d", n), "containerPort": int64(1024 + n), "protocol": "UDP"}
		}, "ports")),
		in(editList(0, func(w *world, n int) any { return fmt.Sprintf("--flag=%s", w.word()) }, "args")),
		in(toggle(l{m{"limits": m{"cpu": "500m", "memory": "64Mi"}}, m{"requests": m{"cpu": "1"}}}, "resources")),
		in(toggle(l{
			m{"httpGet": m{"path": "/live", "port": int64(8080)}},
			m{"httpGet": m{"path": "/live", "port": "http"}, "periodSeconds": int64(3)},
			m{"exec": m{"command": l{"true"}}},
		}, "livenessProbe")),
		in(toggle(l{m{"runAsNonRoot": true}, m{"runAsUser": int64(1000), "capabilities": m{"drop": l{"ALL"}}}}, "securityContext")),
		in(toggle(l{"Always", "IfNotPresent"}, "imagePullPolicy")),
		editList(1, func(w *world, n int) any { return m{"name": fmt.Sprintf("side-%d", n), "image": "example.org/side:1"} }, below("containers")...),
		editList(0, func(w *world, n int) any { return m{"name": fmt.Sprintf("init-%d", n), "image": "example.org/init:1"} }, below("initContainers")...),
		editList(0, func(w *world, n int) any {
			return m{"key": fmt.Sprintf("taint-%d", n), "operator": "Exists", "effect": "NoSchedule"}
		}, below("tolerations")...),
		editList(0, func(w *world, n int) any { return m{"name": fmt.Sprintf("pull-%d", n)} }, below("imagePullSecrets")...),
		editList(0, func(w *world, n int) any {
			return m{"ip": fmt.Sprintf("10.9.8.%d", n%250), "hostnames": l{w.word() + ".example.org"}}
		}, below("hostAliases")...),
		editList(0, func(w *world, n int) any {
			return w.one(m{"name": fmt.Sprintf("v%d", n), "emptyDir": m{}}, m{"name": fmt.Sprintf("v%d", n), "configMap": m{"name": "any", "optional": true}})
		}, below("volumes")...),
		toggle(l{int64(5), int64(40)}, below("terminationGracePeriodSeconds")...),
		toggle(l{"ClusterFirst", "Default"}, below("dnsPolicy")...),
		toggle(l{m{"fsGroup": int64(2000)}, m{"runAsGroup": int64(3), "supplementalGroups": l{int64(4), int64(5)}}}, below("securityContext")...),
		func(w *world, o m) {
			w.editMap(at(o, append(template, "metadata", "annotations")...), "example.org/restarted", "checksum/config")
		},
	}
}

// workload is a Deployment or StatefulSet; mostly of no replicas, so that
// waiting for it is short.
func workload(kind string, more m) func(*world) m {
	return func(w *world) m {
		app := w.word()
		spec := m{
			"replicas": w.one(int64(0), int64(0), int64(0), int64(1)), "selector": m{"matchLabels": m{"app": app}},
			"template": m{"metadata": m{"labels": m{"app": app}}, "spec": podSpec(w)},
		}
		maps.Copy(spec, more)
		return m{"apiVersion": "apps/v1", "kind": kind, "spec": spec}
	}
}

func rule(w *world, _ int) any {
	return m{"apiGroups": l{""}, "resources": l{w.one("pods", "services", "secrets")}, "verbs": l{"get", w.one("list", "watch")}}
}

func subject(_ *world, n int) any {
	return m{"kind": "ServiceAccount", "name": fmt.Sprintf("sa-%d", n), "namespace": "default"}
}

func ingressRule(w *world, n int) any {
	return m{"host": fmt.Sprintf("h%d.example.org", n), "http": m{"paths": l{m{
		"path": "/" + w.word(), "pathType": w.one("Prefix", "Exact"),
		"backend": m{"service": m{"name": w.word(), "port": w.one(m{"number": int64(80)}, m{"name": "http"})}},
	}}}}
}

func servicePort(w *world, n int) any {
	p := m{"name": fmt.Sprintf("p%d", n), "port": int64(1000 + n)}
	if w.chance(60) {
		p["targetPort"] = w.one("http", int64(8080))
	}
	return p
}

func metric(w *world, _ int) any {
	return m{"type": "Resource", "resource": m{"name": w.one("cpu", "memory"), "target": m{"type": "Utilization", "averageUtilization": int64(50 + w.r.IntN(40))}}}
}

// tree is arbitrary JSON, as custom resources may hold.
func (w *world) tree(depth int) any {
	switch p := w.r.IntN(8); {
	case p < 2 && depth > 0:
		out := m{}
		for range 1 + w.r.IntN(3) {
			out[w.one("alpha", "beta.dotted", "gam/ma", "delta", "").(string)+"k"] = w.tree(depth - 1)
		}
		return out
	case p < 4 && depth > 0:
		out := l{}
		for range 1 + w.r.IntN(3) {
			out = append(out, w.tree(depth-1))
		}
		return out
	}
	return w.one(int64(w.r.IntN(100)), 0.5+float64(w.r.IntN(9)), true, false, "", w.word(), int64(1)<<52, "multi\nline: \"x\"\n")
}

func editTree(w *world, o m) {
	in := at(o, "spec", "free")
	k := w.one("a", "b", "c.d", "e").(string)
	if _, ok := in[k]; ok && w.chance(40) {
		delete(in, k)
		return
	}
	in[k] = w.tree(3)
}

func encoded(w *world) any { return base64.StdEncoding.EncodeToString([]byte(w.word())) }

var allSpecies = []species{
	{"ConfigMap",
		func(w *world) m {
			return m{"apiVersion": "v1", "kind": "ConfigMap", "data": m{"colour": "red", "file.conf": "a = 1\nb = 2\n"}}
		},
		[]func(*world, m){
			func(w *world, o m) { w.editMap(child(o, "data"), "colour", "size", "file.conf", "empty") },
			func(w *world, o m) { child(o, "data")["file.conf"] = fmt.Sprintf("a = %d\nb = 2\n", w.r.IntN(9)) },
			func(w *world, o m) { child(o, "data")["empty"] = "" },
			func(w *world, o m) { child(o, "binaryData")["blob"] = encoded(w) },
			func(_ *world, o m) { delete(o, "binaryData") },
		}},
	{"Secret",
		func(w *world) m {
			return m{"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": m{"token": encoded(w)}}
		},
		[]func(*world, m){
			func(w *world, o m) { child(o, "data")[w.one("token", "user", "a.b").(string)] = encoded(w) },
			func(w *world, o m) { w.editMap(child(o, "stringData"), "plain", "other") },
			func(w *world, o m) { delete(child(o, "data"), w.one("user", "a.b").(string)) },
		}},
	{"Service",
		func(w *world) m {
			return m{"apiVersion": "v1", "kind": "Service", "spec": m{"selector": m{"app": w.word()}, "ports": l{servicePort(w, 1)}}}
		},
		[]func(*world, m){
			editList(1, servicePort, "spec", "ports"),
			func(w *world, o m) { w.editMap(at(o, "spec", "selector"), "app", "tier") },
			toggle(l{"ClientIP", "None"}, "spec", "sessionAffinity"),
			toggle(l{"NodePort", "ClusterIP"}, "spec", "type"),
			toggle(l{l{"192.0.2.1"}, l{"192.0.2.2", "192.0.2.1"}}, "spec", "externalIPs"),
			toggle(l{true, false}, "spec", "publishNotReadyAddresses"),
		}},
	{"ServiceAccount",
		func(w *world) m { return m{"apiVersion": "v1", "kind": "ServiceAccount"} },
		[]func(*world, m){
			toggle(l{true, false}, "automountServiceAccountToken"),
			editList(0, func(_ *world, n int) any { return m{"name": fmt.Sprintf("pull-%d", n)} }, "imagePullSecrets"),
		}},
	{"Role",
		func(w *world) m {
			return m{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": l{rule(w, 0)}}
		},
		[]func(*world, m){editList(0, rule, "rules"), editList(1, rule, "rules")}},
	{"RoleBinding",
		func(w *world) m {
			return m{
				"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "subjects": l{subject(w, 1)},
				"roleRef": m{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
			}
		},
		[]func(*world, m){
			editList(0, subject, "subjects"), editList(1, subject, "subjects"),
			set(l{"view", "edit"}, "roleRef", "name"), // a replace
		}},
	{"Deployment", workload("Deployment", nil), append(podEdits("spec", "template"),
		toggle(l{int64(0), int64(1)}, "spec", "replicas"),
		// Recreate and OnDelete are left out: the server's default for
		// rollingUpdate stays beside them and makes the object invalid.
		toggle(l{m{"rollingUpdate": m{"maxSurge": "30%", "maxUnavailable": int64(0)}}, m{"type": "RollingUpdate"}}, "spec", "strategy"),
		toggle(l{int64(3), int64(0)}, "spec", "revisionHistoryLimit"),
		toggle(l{int64(7)}, "spec", "minReadySeconds"),
	)},
	{"StatefulSet", workload("StatefulSet", m{"serviceName": "none", "podManagementPolicy": "Parallel"}), append(podEdits("spec", "template"),
		toggle(l{m{"type": "RollingUpdate", "rollingUpdate": m{"partition": int64(0)}}}, "spec", "updateStrategy"),
		toggle(l{int64(0), int64(1)}, "spec", "replicas"),
		toggle(l{m{"whenDeleted": "Delete", "whenScaled": "Retain"}}, "spec", "persistentVolumeClaimRetentionPolicy"),
	)},
	{"CronJob",
		func(w *world) m {
			pod := podSpec(w)
			pod["restartPolicy"] = "Never"
			return m{"apiVersion": "batch/v1", "kind": "CronJob", "spec": m{
				"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": m{"spec": m{"template": m{"spec": pod}}},
			}}
		},
		append(podEdits("spec", "jobTemplate", "spec", "template"),
			set(l{"0 0 1 1 *", "5 0 1 1 *"}, "spec", "schedule"),
			toggle(l{"Forbid", "Replace"}, "spec", "concurrencyPolicy"),
			toggle(l{"Etc/UTC"}, "spec", "timeZone"),
		)},
	{"Ingress",
		func(w *world) m {
			return m{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": m{"rules": l{ingressRule(w, 1)}}}
		},
		[]func(*world, m){
			editList(1, ingressRule, "spec", "rules"),
			editList(0, func(w *world, n int) any {
				return m{"secretName": w.word(), "hosts": l{fmt.Sprintf("h%d.example.org", n)}}
			}, "spec", "tls"),
			toggle(l{"nginx", "other"}, "spec", "ingressClassName"),
		}},
	{"HorizontalPodAutoscaler",
		func(w *world) m {
			return m{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": m{
				"scaleTargetRef": m{"apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody"},
				"maxReplicas":    int64(5), "metrics": l{metric(w, 0)},
			}}
		},
		[]func(*world, m){
			set(l{int64(4), int64(6), int64(9)}, "spec", "maxReplicas"),
			toggle(l{int64(1), int64(2)}, "spec", "minReplicas"),
			editList(1, metric, "spec", "metrics"),
			toggle(l{m{"scaleDown": m{"stabilizationWindowSeconds": int64(60)}}}, "spec", "behavior"),
		}},
	{"PodDisruptionBudget",
		func(w *world) m {
			return m{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": m{
				"minAvailable": int64(1), "selector": m{"matchLabels": m{"app": w.word()}},
			}}
		},
		[]func(*world, m){
			func(w *world, o m) {
				spec := at(o, "spec")
				delete(spec, "minAvailable")
				delete(spec, "maxUnavailable")
				spec[w.one("minAvailable", "maxUnavailable").(string)] = w.one(int64(1), "50%")
			},
			func(w *world, o m) { w.editMap(at(o, "spec", "selector", "matchLabels"), "app", "tier") },
		}},
	{"NetworkPolicy",
		func(w *world) m {
			return m{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": m{"podSelector": m{}, "policyTypes": l{"Ingress"}}}
		},
		[]func(*world, m){
			editList(0, func(w *world, n int) any {
				return m{"from": l{m{"podSelector": m{"matchLabels": m{"app": w.word()}}}}, "ports": l{m{"port": int64(n)}}}
			}, "spec", "ingress"),
			func(w *world, o m) { w.editMap(at(o, "spec", "podSelector", "matchLabels"), "app", "tier") },
		}},
	{"Widget",
		func(w *world) m {
			return m{"kind": "Widget", "spec": m{"wheels": int64(4), "parts": l{m{"name": "a", "weight": int64(1)}}}}
		},
		[]func(*world, m){
			editTree, editTree,
			set(l{int64(3), int64(4)}, "spec", "wheels"),
			toggle(l{0.25, 2.5, int64(2)}, "spec", "ratio"),
			editList(0, func(_ *world, n int) any { return m{"name": fmt.Sprintf("part-%d", n), "weight": int64(n)} }, "spec", "parts"),
			editList(0, func(_ *world, n int) any { return fmt.Sprintf("tag-%d", n) }, "spec", "tags"),
			editList(0, func(_ *world, n int) any { return fmt.Sprintf("step-%d", n) }, "spec", "steps"),
		}},
}

// widgets is the CRD of the world's custom kind: a list that is a map, one
// that is a set, one that is atomic, and a part without schema.
const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%NS%.example.org}
spec:
  group: %NS%.example.org
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              wheels: {type: integer, default: 2}
              ratio: {type: number}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              steps: {type: array, items: {type: string}}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, weight: {type: integer, default: 1}}}
`
