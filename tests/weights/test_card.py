"""The card beside an encoder says how to load it, what it is worth, how exact it is."""

from byol_jax.weights import card

CHECKED = {'timm': {'relative_l2': 1e-6, 'one_minus_cos': 2e-12},
           'transformers': 'not checked: transformers is not installed'}


def test_a_card_of_a_stock_network(made):
  weights = made(name='resnet18', stem='imagenet')
  figures = [card.Figure('knn', 'top1', 71.5, {'k': 20}),
             card.Figure('knn', 'top5', 91.5, {'k': 20})]
  text = card.text(weights, CHECKED, '8 images', figures, 'apache-2.0')
  assert text.startswith('---\nlibrary_name: timm\n') and 'license: apache-2.0' in text
  for words in (
      "timm.create_model('local-dir:DIR', pretrained=True)", 'AutoImageProcessor',
      'torchvision.models.resnet18(', "encoder.load('DIR')", '0.875 of the shorter',
      '| timm | 1.0e-06 | 2.0e-12 |', '| transformers | not checked: ', '8 images',
      '| knn | top1 | 71.50 |', '"k": 20', '-> [N, 512]'):
    assert words in text
  assert text.count('"k": 20') == 1 and '{' not in text.split('## Figures')[0]


def test_a_card_of_a_network_with_a_head(made):
  text = card.text(made(name='resnet18', stem='imagenet', embedding=5), {}, '', [], '')
  for words in ("AutoModelForImageClassification.from_pretrained('DIR')", ').logits',
                'model.fc = torch.nn.Linear(512, 5)', '-> [N, 5]'):
    assert words in text
  assert 'pooler_output' not in text


def test_a_card_of_a_network_of_our_own(made):
  text = card.text(made(), {}, 'noise', [], '')
  assert 'byol_resnet.load' in text and 'timm.create_model' not in text
  assert 'None was measured' in text and 'license: unknown' in text


def test_a_known_licence_is_said(made):
  weights = made()
  config = weights.config.copy_and_resolve_references().unlock()
  config.data.source, config.weights = 'same', 'pretrain_res50x1.pkl'
  weights = weights._replace(config=config)
  assert card.licence_of(weights, '') == 'cc-by-nc-4.0'
  assert card.licence_of(weights, 'mit') == 'mit'
