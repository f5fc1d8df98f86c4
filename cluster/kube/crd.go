package kube

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/client-go/kubernetes/scheme"

	"lockkeeper/cluster"
)

// plannedKinds are what the merge result brings along: kinds by its CRDs (new
// ones and changed ones), and namespaces. Objects that need them cannot be
// dry-run before they exist.
type plannedKinds struct {
	crds       map[schema.GroupKind]*cluster.Object
	namespaces map[string]bool
}

func plannedIn(merge []cluster.Object, changed func(cluster.Ref) bool) plannedKinds {
	p := plannedKinds{map[schema.GroupKind]*cluster.Object{}, map[string]bool{}}
	for i := range merge {
		o := &merge[i]
		switch o.Ref.GroupKind() {
		case "Namespace":
			p.namespaces[o.Ref.Name] = true
		case "CustomResourceDefinition.apiextensions.k8s.io":
			if changed(o.Ref) {
				group, _, _ := unstructured.NestedString(o.Content, "spec", "group")
				name, _, _ := unstructured.NestedString(o.Content, "spec", "names", "kind")
				p.crds[schema.GroupKind{Group: group, Kind: name}] = o
			}
		}
	}
	return p
}

// defines reports whether the plan brings or changes the kind of an object.
func (p plannedKinds) defines(ref cluster.Ref) bool {
	return p.crds[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}] != nil
}

// unserved plans an object whose kind the server does not have (or not in this
// shape): possible only where its CRD is in the same plan.
func (l *look) unserved(ctx context.Context) (outcome, error) {
	gv, err := schema.ParseGroupVersion(l.w.merge.APIVersion)
	if err != nil {
		return l.problem("%s: apiVersion %q is not of the form group/version", l.w.ref, l.w.merge.APIVersion), nil
	}
	if broken, ok := l.p.kinds.broken[gv]; ok {
		return l.problem("%s: the API service of %s does not answer: %s", l.w.ref, gv, l.p.scrub.text(l.w.ref, broken.Error())), nil
	}
	crd := l.p.planned.crds[schema.GroupKind{Group: l.w.ref.Group, Kind: l.w.ref.Kind}]
	if crd == nil {
		return l.problem("unknown kind %s in %s: the cluster %s does not serve it; install its CRD first or add it to this target", l.w.ref.Kind, l.w.merge.APIVersion, l.c.name), nil
	}
	if err := fitsCRD(ctx, l.desired, crd, gv.Version); err != nil {
		return l.problem("%s does not fit its CRD (%s): %s", l.w.ref, crd.Source, l.p.scrub.text(l.w.ref, err.Error())), nil
	}
	return l.unverified("its CRD is in the same pull")
}

// unverified is a change that the server could not verify.
func (l *look) unverified(why string) (outcome, error) {
	action := cluster.Create
	if l.live != nil {
		action = l.action()
	}
	change := l.change(action)
	change.Unverified = why
	change.Fields = l.gitFields()
	return l.finish(change, nil)
}

// fitsCRD validates a custom resource against the schema of a CRD as the
// server would: unknown fields, types, lists, rules.
func fitsCRD(ctx context.Context, obj *unstructured.Unstructured, crd *cluster.Object, version string) error {
	props, err := schemaOf(crd, version)
	if err != nil {
		return err
	}
	s, err := structural.NewStructural(props)
	if err != nil {
		return fmt.Errorf("the schema of version %s is not usable: %w", version, err)
	}
	content := obj.DeepCopy().Object
	unknown := pruning.PruneWithOptions(content, s, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	var errs []string
	for _, f := range unknown {
		errs = append(errs, fmt.Sprintf("unknown field %q", f))
	}
	defaulting.Default(content, s)
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return fmt.Errorf("the schema of version %s is not usable: %w", version, err)
	}
	found := validation.ValidateCustomResource(nil, content, validator)
	found = append(found, listtype.ValidateListSetsAndMaps(nil, s, content)...)
	found = append(found, rules(ctx, content, s)...)
	for _, e := range found {
		errs = append(errs, e.Error())
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s", strings.Join(errs, "; "))
	}
	return nil
}

// rules evaluates the CEL rules of a schema, within the server's cost limit.
func rules(ctx context.Context, content map[string]any, s *structural.Structural) field.ErrorList {
	v := cel.NewValidator(s, true, celconfig.PerCallLimit)
	if v == nil {
		return nil
	}
	errs, _ := v.Validate(ctx, nil, s, content, nil, celconfig.RuntimeCELCostBudget)
	return errs
}

func schemaOf(o *cluster.Object, version string) (*apiextensions.JSONSchemaProps, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Content, &crd); err != nil {
		return nil, fmt.Errorf("the CRD cannot be read: %w", err)
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version || !v.Served {
			continue
		}
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			return nil, fmt.Errorf("the CRD has no schema for version %s", version)
		}
		out := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, out, nil); err != nil {
			return nil, fmt.Errorf("the schema of version %s is not usable: %w", version, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the CRD does not serve version %s", version)
}

// decodesStrictly checks a built-in kind without a server: unknown and
// duplicate fields, and types. Custom kinds pass.
func decodesStrictly(u *unstructured.Unstructured) error {
	if !scheme.Scheme.Recognizes(u.GroupVersionKind()) {
		return nil
	}
	b, err := u.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Strict: true})
	if _, _, err := strict.Decode(b, nil, nil); err != nil {
		return fmt.Errorf("invalid: %w", err)
	}
	return nil
}
